#include "engine/generate/batcher.h"

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {
namespace {

constexpr int kPriorities = 3;

// A client with this many more running sequences than another has more than its share.
constexpr int64_t kUnfairDifference = 2;

// The priority of a sequence that has risen to this rank: at most kHigh.
int EffectivePriority(int64_t rank) { return static_cast<int>(std::max<int64_t>(rank, 0)); }

}  // namespace

absl::Status Batcher::Add(const BatchEntry& entry) {
  int64_t requests = 0, tokens = 0;
  for (const Item& item : waiting_) {
    if (!item.queued) continue;
    ++requests;
    tokens += item.prompt_left;
  }
  if (requests >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", requests, " requests are waiting"));
  }
  if (requests > 0 && tokens + entry.prompt_tokens > options_.max_waiting_tokens) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue is full: prompts of ", tokens,
                                                     " tokens are waiting, at most ",
                                                     options_.max_waiting_tokens, " are allowed"));
  }
  // A client that returns from idle starts with at least the lowest count among the active clients,
  // so it gets no credit for the time it was away.
  const double min_served = MinServed();
  std::erase_if(clients_, [&](const auto& client) {
    return client.second.sequences == 0 && client.second.served <= min_served;
  });
  Client& client =
      clients_.try_emplace(entry.client, Client{.served = min_served, .last_ran = entry.arrival})
          .first->second;
  ++client.sequences;
  waiting_.push_back({.entry = entry, .client = &client, .prompt_left = entry.prompt_tokens});
  return absl::OkStatus();
}

std::vector<BatchShare> Batcher::Plan(Clock::time_point now,
                                      const std::function<bool(uint64_t id)>& ready) {
  CommitLastPlan();
  planned_at_ = now;
  BlockLaterRequests(now);
  Admit(now);
  std::vector<BatchShare> shares;
  std::vector<Item*> reading;
  for (Item& item : running_) {
    if (!ready(item.id())) continue;
    if (item.prompt_left > 0) {
      reading.push_back(&item);
      continue;
    }
    shares.push_back({item.entry.id});
    item.begun = true;
    item.client->served += 1;
  }
  DistributePromptTokens(
      shares.empty() ? options_.prefill_chunk_tokens : options_.mixed_chunk_tokens,
      std::move(reading), shares);
  return shares;
}

void Batcher::DistributePromptTokens(int64_t budget, std::vector<Item*> reading,
                                     std::vector<BatchShare>& shares) {
  if (reading.empty()) return;
  const Item* first = *std::ranges::min_element(
      reading, {}, [&](const Item* item) { return AgedRank(*item, planned_at_); });
  const int64_t reserved = std::min(first->prompt_left, (budget + 1) / 2);
  budget -= reserved;
  std::ranges::stable_sort(
      reading, {}, [](const Item* item) { return std::pair(item->rank, item->prompt_left); });
  for (Item* item : reading) {
    const int64_t guaranteed = item == first ? reserved : 0;
    const int64_t extra = std::min(budget, item->prompt_left - guaranteed);
    if (guaranteed + extra == 0) continue;
    budget -= extra;
    shares.push_back({item->entry.id, guaranteed + extra});
    item->prompt_left -= guaranteed + extra;
    item->begun = true;
    item->client->served += static_cast<double>(guaranteed + extra);
  }
}

void Batcher::UndoShare(const BatchShare& share) {
  const auto found = std::ranges::find(running_, share.id, &Item::id);
  if (found == running_.end()) return;
  found->prompt_left += share.prompt_tokens;
  found->client->served -= static_cast<double>(std::max<int64_t>(share.prompt_tokens, 1));
}

BatchShare Batcher::Skip(const BatchShare& share, int64_t tokens) {
  const auto found = std::ranges::find(running_, share.id, &Item::id);
  if (found == running_.end()) return share;
  const int64_t left = found->prompt_left + share.prompt_tokens - tokens;
  const int64_t now = std::min(share.prompt_tokens, left);
  found->prompt_left = left - now;
  found->client->served -= static_cast<double>(share.prompt_tokens - now);
  return {share.id, now};
}

void Batcher::Fork(uint64_t id, uint64_t copy) {
  const auto found = std::ranges::find(running_, id, &Item::id);
  if (found == running_.end()) return;
  Item item{.entry = found->entry, .client = found->client, .queued = false};
  item.entry.id = copy;
  ++item.client->sequences;
  waiting_.push_front(std::move(item));
}

void Batcher::Remove(uint64_t id) {
  for (Items* items : {&waiting_, &running_}) {
    const auto found = std::ranges::find(*items, id, &Item::id);
    if (found == items->end()) continue;
    if (found->begun && items == &running_) found->client->last_ran = planned_at_;
    if (items == &running_) --found->client->running;
    StopBlocking(*found);
    RemoveFromClient(*found);
    items->erase(found);
    return ReleasePostponed();
  }
}

bool Batcher::Postpone(std::span<const BatchShare> shares) {
  for (const BatchShare& share : shares) {
    const auto found = std::ranges::find(running_, share.id, &Item::id);
    if (found == running_.end()) continue;
    found->begun = false;
    found->prompt_left += share.prompt_tokens;
    found->client->served -= static_cast<double>(std::max<int64_t>(share.prompt_tokens, 1));
    found->postponed = any_postponed_ = true;
    found->lacks_memory = found->queued;
    Stop(found);
  }
  const bool helps =
      std::ranges::any_of(running_, &Item::begun) || std::ranges::any_of(waiting_, &Item::begun);
  if (!helps) {
    ReleasePostponed();
    ClearMemoryShortages();
  }
  return helps;
}

void Batcher::ReleasePostponed() {
  if (!std::exchange(any_postponed_, false)) return;
  for (Item& item : waiting_) item.postponed = false;
}

void Batcher::ClearMemoryShortages() {
  for (Items* items : {&waiting_, &running_}) {
    for (Item& item : *items) {
      StopBlocking(item);
      item.lacks_memory = false;
    }
  }
}

void Batcher::CommitLastPlan() {
  for (Item& item : running_) {
    if (!item.begun) continue;
    StopBlocking(item);
    item.queued = item.lacks_memory = false;
    item.client->last_ran = planned_at_;
  }
}

void Batcher::StopBlocking(Item& item) {
  if (std::exchange(item.blocking, false)) last_blocked_ = planned_at_;
}

std::tuple<int64_t, double, uint64_t> Batcher::BlockingOrder(const Item& item,
                                                             Clock::time_point now) const {
  return {AgedRank(item, now), item.client->served, item.id()};
}

// A request that is being tried again blocks the others too: the returned memory is for it.
const Batcher::Item* Batcher::FindBlockingRequest(Clock::time_point now) const {
  const Item* first = nullptr;
  for (const Items* items : {&waiting_, &running_}) {
    for (const Item& item : *items) {
      const auto since = std::max(item.entry.arrival, last_blocked_);
      if (!item.lacks_memory || now - since < options_.aging) continue;
      if (first == nullptr || BlockingOrder(item, now) < BlockingOrder(*first, now)) first = &item;
    }
  }
  return first;
}

void Batcher::BlockLaterRequests(Clock::time_point now) {
  const Item* const first = FindBlockingRequest(now);
  for (Items* items : {&waiting_, &running_}) {
    for (Item& item : *items) {
      item.blocking = &item == first;
      item.blocked =
          first != nullptr && item.queued && BlockingOrder(*first, now) < BlockingOrder(item, now);
    }
  }
}

std::vector<uint64_t> Batcher::SequencesYieldingTo(uint64_t id) {
  std::vector<uint64_t> yielding;
  const auto found = std::ranges::find(running_, id, &Item::id);
  if (found == running_.end()) return yielding;
  for (auto item = waiting_.rbegin(); item != waiting_.rend(); ++item) {
    if (item->begun) yielding.push_back(item->id());
  }
  for (auto item = running_.rbegin(); item != running_.rend(); ++item) {
    const bool fair = item->client->running < found->client->running + kUnfairDifference;
    if (item->begun && !fair && item->priority() >= found->rank) yielding.push_back(item->id());
  }
  return yielding;
}

void Batcher::Restart(uint64_t id, int64_t tokens) {
  auto found = std::ranges::find(running_, id, &Item::id);
  if (found != running_.end()) {
    Stop(found);
  } else {
    found = std::ranges::find(waiting_, id, &Item::id);
    if (found == waiting_.end()) return;
  }
  found->begun = false;
  found->prompt_left = tokens;
}

int64_t Batcher::AgingPeriods(Clock::duration time) const {
  return std::max<int64_t>(time / options_.aging, 0);
}

int64_t Batcher::AgedRank(const Item& item, Clock::time_point now) const {
  return item.priority() - AgingPeriods(now - item.entry.arrival);
}

int64_t Batcher::AdmissionRank(const Item& item, Clock::time_point now) const {
  const int64_t rank = AgedRank(item, now);
  return rank >= 0 ? rank : std::max(rank, -AgingPeriods(now - item.client->last_ran));
}

Batcher::Items::iterator Batcher::NextToAdmit(const auto& rank) {
  const auto key = [&](const Item& item) { return std::pair(rank(item), item.client->served); };
  auto next = waiting_.end();
  for (auto item = waiting_.begin(); item != waiting_.end(); ++item) {
    if (item->postponed || item->blocked) continue;
    if (next == waiting_.end() || key(*item) < key(*next)) next = item;
  }
  return next;
}

Batcher::Items::iterator Batcher::FindVictim() {
  auto victim = running_.begin();
  for (auto item = running_.begin(); item != running_.end(); ++item) {
    if (item->rank >= victim->rank) victim = item;
  }
  return victim;
}

void Batcher::Admit(Clock::time_point now) {
  const auto aged = [&](const Item& item) { return AdmissionRank(item, now); };
  while (running() < options_.max_running) {
    const auto next = NextToAdmit(aged);
    if (next == waiting_.end()) break;
    Start(next, EffectivePriority(aged(*next)));
  }
  // Running sequences are displaced by original priority only. With aging, equals would displace
  // each other without any gain.
  const auto base = [](const Item& item) { return item.priority(); };
  while (!running_.empty()) {
    const auto next = NextToAdmit(base), victim = FindVictim();
    if (next == waiting_.end() || base(*next) >= victim->rank) break;
    Start(next, base(*next));
    Stop(victim);
  }
  while (Rebalance(now)) {
  }
}

// Aging counts for the sequence that takes a place, but not for the one that gives it up: a
// sequence that has once waited long would otherwise keep its place for good. Each change makes the
// clients more equal, so the changes come to an end.
bool Batcher::Rebalance(Clock::time_point now) {
  if (waiting_.empty()) return false;
  // For each priority, the running sequence that would make room for it.
  std::array<Items::iterator, kPriorities> victims;
  victims.fill(running_.end());
  for (auto item = running_.begin(); item != running_.end(); ++item) {
    for (int rank = 0; rank <= item->priority(); ++rank) {
      Items::iterator& victim = victims[rank];
      if (victim == running_.end() || item->client->running >= victim->client->running) {
        victim = item;
      }
    }
  }
  const auto key = [](const Item& item) {
    return std::pair(item.client->running, item.client->served);
  };
  auto next = waiting_.end();
  for (auto item = waiting_.begin(); item != waiting_.end(); ++item) {
    if (item->postponed || item->blocked) continue;
    const auto victim = victims[EffectivePriority(AgedRank(*item, now))];
    if (victim == running_.end()) continue;
    if (victim->client->running < item->client->running + kUnfairDifference) continue;
    if (next == waiting_.end() || key(*item) < key(*next)) next = item;
  }
  if (next == waiting_.end()) return false;
  const int rank = EffectivePriority(AgedRank(*next, now));
  Start(next, rank);
  Stop(victims[rank]);
  return true;
}

void Batcher::Start(Items::iterator item, int rank) {
  item->rank = rank;
  ++item->client->running;
  running_.splice(running_.end(), waiting_, item);
}

void Batcher::Stop(Items::iterator item) {
  --item->client->running;
  if (item->begun) item->queued = false;
  waiting_.splice(waiting_.begin(), running_, item);
}

void Batcher::RemoveFromClient(const Item& item) {
  --item.client->sequences;
  if (waiting_.size() + running_.size() == 1) clients_.clear();  // `item` was the last
}

double Batcher::MinServed() const {
  double min_served = std::numeric_limits<double>::infinity();
  for (const auto& [name, client] : clients_) {
    if (client.sequences > 0) min_served = std::min(min_served, client.served);
  }
  return clients_.empty() ? 0 : min_served;
}

}  // namespace whipsnake::engine
