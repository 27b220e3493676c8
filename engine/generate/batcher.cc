#include "engine/generate/batcher.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {

absl::Status Batcher::Add(const BatchEntry& entry) {
  if (waiting() >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", waiting(), " requests are waiting"));
  }
  const int64_t tokens = WaitingTokens();
  if (!waiting_.empty() && tokens + entry.prompt_tokens > options_.max_waiting_tokens) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue is full: prompts of ", tokens,
                                                     " tokens are waiting, of at most ",
                                                     options_.max_waiting_tokens));
  }
  // Who was away is not owed what the others were given meanwhile.
  const double least = LeastServed();
  std::erase_if(clients_, [&](const auto& client) {
    return client.second.requests == 0 && client.second.served <= least;
  });
  Client& client = clients_.try_emplace(entry.client, Client{.served = least}).first->second;
  ++client.requests;
  waiting_.push_back({entry, entry.prompt_tokens});
  return absl::OkStatus();
}

std::vector<BatchShare> Batcher::Plan(Clock::time_point now) {
  Admit(now);
  std::vector<BatchShare> shares;
  for (Item& item : running_) {
    if (item.prompt_left > 0) continue;
    shares.push_back({item.entry.id});
    item.begun = true;
    clients_[item.entry.client].served += 1;
  }
  ShareOut(shares.empty() ? options_.prefill_chunk_tokens : options_.mixed_chunk_tokens, shares);
  return shares;
}

void Batcher::ShareOut(int64_t budget, std::vector<BatchShare>& shares) {
  std::vector<Item*> reading;
  for (Item& item : running_) {
    if (item.prompt_left > 0) reading.push_back(&item);
  }
  if (reading.empty()) return;
  const Item* first = *std::ranges::min_element(reading, {}, &Item::rank);
  const int64_t kept = std::min(first->prompt_left, (budget + 1) / 2);
  budget -= kept;
  std::ranges::stable_sort(
      reading, {}, [](const Item* item) { return std::pair(item->rank, item->prompt_left); });
  for (Item* item : reading) {
    const int64_t own = item == first ? kept : 0;
    const int64_t more = std::min(budget, item->prompt_left - own);
    if (own + more == 0) continue;
    budget -= more;
    shares.push_back({item->entry.id, own + more});
    item->prompt_left -= own + more;
    item->begun = true;
    clients_[item->entry.client].served += static_cast<double>(own + more);
  }
}

BatchShare Batcher::Skip(const BatchShare& share, int64_t tokens) {
  const auto found = std::ranges::find(running_, share.id, &Item::id);
  if (found == running_.end()) return share;
  const int64_t left = found->prompt_left + share.prompt_tokens - tokens;
  const int64_t now = std::min(share.prompt_tokens, left);
  found->prompt_left = left - now;
  clients_[found->entry.client].served -= static_cast<double>(share.prompt_tokens - now);
  return {share.id, now};
}

void Batcher::Fork(uint64_t id, uint64_t copy) {
  const auto found = std::ranges::find(running_, id, &Item::id);
  if (found == running_.end()) return;
  Item item{.entry = found->entry, .prompt_left = 0};
  item.entry.id = copy;
  ++clients_[item.entry.client].requests;
  waiting_.push_front(std::move(item));
}

void Batcher::Remove(uint64_t id) {
  for (Items* items : {&waiting_, &running_}) {
    const auto found = std::ranges::find(*items, id, &Item::id);
    if (found == items->end()) continue;
    Forget(*found);
    items->erase(found);
    held_ = false;
    return;
  }
}

bool Batcher::Postpone(std::span<const BatchShare> shares) {
  const auto is_here = [&](const Item& item) {
    return std::ranges::find(shares, item.id(), &BatchShare::id) != shares.end();
  };
  const auto has_memory = [&](const Item& item) { return item.begun && !is_here(item); };
  if (std::ranges::none_of(running_, has_memory) && std::ranges::none_of(waiting_, has_memory)) {
    return false;
  }
  for (const BatchShare& share : shares) {
    const auto found = std::ranges::find(running_, share.id, &Item::id);
    if (found == running_.end()) continue;
    found->begun = false;
    found->prompt_left += share.prompt_tokens;
    clients_[found->entry.client].served -= std::max<int64_t>(share.prompt_tokens, 1);
    waiting_.splice(waiting_.begin(), running_, found);
    held_ = true;
  }
  return true;
}

int Batcher::AgedRank(const Item& item, Clock::time_point now) const {
  const auto risen = std::max<int64_t>((now - item.entry.arrival) / options_.aging, 0);
  return static_cast<int>(std::max<int64_t>(static_cast<int64_t>(item.entry.priority) - risen, 0));
}

Batcher::Items::iterator Batcher::Next(const auto& rank) {
  const auto key = [&](const Item& item) {
    return std::pair(rank(item), clients_[item.entry.client].served);
  };
  auto next = waiting_.end();
  for (auto item = waiting_.begin(); item != waiting_.end(); ++item) {
    if (held_ && !item->begun) continue;
    if (next == waiting_.end() || key(*item) < key(*next)) next = item;
  }
  return next;
}

Batcher::Items::iterator Batcher::Victim() {
  auto victim = running_.begin();
  for (auto item = running_.begin(); item != running_.end(); ++item) {
    if (item->rank >= victim->rank) victim = item;
  }
  return victim;
}

void Batcher::Admit(Clock::time_point now) {
  const auto aged = [&](const Item& item) { return AgedRank(item, now); };
  while (running() < options_.max_running) {
    const auto next = Next(aged);
    if (next == waiting_.end()) return;
    next->rank = aged(*next);
    running_.splice(running_.end(), waiting_, next);
  }
  // Places are taken by true priority alone: with age, equals would take turns at nobody's gain.
  const auto base = [](const Item& item) { return static_cast<int>(item.entry.priority); };
  while (!running_.empty()) {
    const auto next = Next(base), victim = Victim();
    if (next == waiting_.end() || base(*next) >= victim->rank) return;
    next->rank = base(*next);
    running_.splice(running_.end(), waiting_, next);
    waiting_.splice(waiting_.begin(), running_, victim);
  }
}

void Batcher::Forget(const Item& item) {
  --clients_[item.entry.client].requests;
  if (waiting_.size() + running_.size() == 1) clients_.clear();  // it was the last
}

double Batcher::LeastServed() const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, client] : clients_) {
    if (client.requests > 0) least = std::min(least, client.served);
  }
  return clients_.empty() ? 0 : least;
}

int64_t Batcher::WaitingTokens() const {
  int64_t tokens = 0;
  for (const Item& item : waiting_) tokens += item.prompt_left;
  return tokens;
}

}  // namespace whipsnake::engine
