// Continuous batching as a state machine: decides which sequences compute in the next forward pass,
// and how much of each.
//
// Sequences join and leave between steps. A step gives one token to every running sequence that is
// past its prompt, and divides a budget of prompt tokens among those that still read theirs. A long
// prompt thus slows the other sequences by a bounded amount and never stops them. Half of the
// budget goes to the most urgent prompt, among equals to the one that was admitted first. A prompt
// rises by one priority every `aging`, also above kHigh, so that each has its turn. The rest goes
// to the prompts that were more urgent when they were admitted, and among equals to the shortest
// first, so that they need not wait for the end of a long one.
//
// If more sequences wait than may run, they are admitted in this order:
//   - the more urgent first; a waiting sequence rises by one priority every `aging`. It rises above
//     kHigh only for the time in which no sequence of its client has run. A long wait thus comes
//     before any newcomer, so that none starves, but a long backlog gains its client nothing;
//   - among equals, the sequences of the client that has been given the fewest tokens, after the
//     "virtual token counter" (Sheng et al., Fairness in Serving Large Language Models, arXiv
//     2401.00588);
//   - within a client, in the order of arrival.
//
// A request that finds no memory when it is to start is tried again when another sequence is
// removed. Until one `aging` after its arrival, all others may start before it. If it has not begun
// by then, it blocks the requests that come after it: none of them starts until it has begun.
// Returned memory thus accumulates for it, and it begins at the latest when all sequences that have
// begun or come before it are over. In this order, each request rises above kHigh for all of its
// own wait. Only requests that are older, or younger by a few `aging`, come before it; these may
// start. The sequences of requests that have begun continue.
//
// Only one request blocks others at a time: of those that have waited so long, the first in this
// order. After it has begun or left, none blocks others for one `aging`, whoever sent it. Large
// requests thus cannot keep the others out one after another: after each of them, the others may
// start for that time. If no sequence has begun, none has memory to return, and the blocking ends
// too, as the other requests may need less memory.
//
// A running sequence is displaced in two cases. It then waits again and later continues from where
// it was:
//   - a waiting request is more urgent;
//   - a client has at least two sequences fewer running than another. The last sequence of the
//     other client then makes room for one that is at least as urgent. The running sequences are
//     thus shared equally among clients, however many sequences a request has. A difference of one
//     moves nothing, as the two clients would exchange places forever.
#ifndef WHIPSNAKE_ENGINE_GENERATE_BATCHER_H_
#define WHIPSNAKE_ENGINE_GENERATE_BATCHER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"

namespace whipsnake::engine {

using Clock = std::chrono::steady_clock;

// In falling order of urgency.
enum class RequestPriority { kHigh, kNormal, kLow };

struct BatcherOptions {
  int64_t max_running = 64;
  int64_t max_waiting = 256;                      // requests that have not run yet
  int64_t max_waiting_tokens = int64_t{1} << 20;  // of the prompts of these requests
  // The most prompt tokens in a step: if no sequence decodes, and if one does. Cancellation and
  // deadlines are checked between steps.
  int64_t prefill_chunk_tokens = 512;
  int64_t mixed_chunk_tokens = 32;
  // Waiting this long raises a request by one priority.
  Clock::duration aging = std::chrono::seconds(5);
};

// The part of BatcherOptions that may change while requests are served.
struct QueueLimits {
  int64_t max_waiting = 0;
  int64_t max_waiting_tokens = 0;
};

// A request as the batcher sees it.
struct BatchEntry {
  uint64_t id = 0;            // unique
  int64_t prompt_tokens = 0;  // at least 1
  RequestPriority priority = RequestPriority::kNormal;
  std::string client;
  Clock::time_point arrival;
};

// A sequence's part of a step.
struct BatchShare {
  uint64_t id = 0;
  int64_t prompt_tokens = 0;  // 0: a decode step, with the token that was chosen last
};

// Not thread-safe. Independent of models and clocks.
class Batcher {
 public:
  explicit Batcher(const BatcherOptions& options) : options_(options) {}

  // Replaces the limits of the queue. Requests that wait already stay.
  void SetQueueLimits(const QueueLimits& limits) {
    options_.max_waiting = limits.max_waiting;
    options_.max_waiting_tokens = limits.max_waiting_tokens;
  }

  // Queues a request. Returns RESOURCE_EXHAUSTED if the queue would exceed max_waiting or
  // max_waiting_tokens. An empty queue accepts a prompt of any length.
  absl::Status Add(const BatchEntry& entry);

  // Plans the next step and assumes that it is carried out. Empty if there is nothing to do.
  // Decoding sequences come first, then those that read their prompts. A running sequence for which
  // `ready` returns false is left out.
  std::vector<BatchShare> Plan(
      Clock::time_point now,
      const std::function<bool(uint64_t id)>& ready = [](uint64_t) { return true; });

  // Undoes a share of the last plan. The sequence stays running.
  void UndoShare(const BatchShare& share);

  // Skips the first `tokens` tokens of a sequence's prompt, which need no computation. `share` is
  // its first share, from the last plan. Returns what is left of that share, possibly nothing.
  BatchShare Skip(const BatchShare& share, int64_t tokens);

  // Splits a sequence that has read its prompt: `copy` continues from there beside `id`. The limits
  // of the queue do not apply to it.
  void Fork(uint64_t id, uint64_t copy);

  // Removes a sequence that has ended, whether it waits or runs. Unknown ids are ignored.
  void Remove(uint64_t id);

  // Undoes shares of the last plan whose sequences found no memory. The sequences wait again and
  // are not admitted until another one has been removed. Returns false if no other sequence has
  // begun and so has memory to return. Waiting then does not help, and all may be admitted at once.
  bool Postpone(std::span<const BatchShare> shares);

  // The sequences that have begun and must give up their memory for `id` if memory is short: first
  // those that wait, then those of clients with at least two more running that are not more urgent.
  // Within each group the last one comes first.
  std::vector<uint64_t> SequencesYieldingTo(uint64_t id);

  // The sequence has lost its state: it waits, and reads `tokens` tokens before it continues.
  void Restart(uint64_t id, int64_t tokens);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }

 private:
  struct Client {
    int64_t sequences = 0;  // waiting and running
    int64_t running = 0;
    double served = 0;           // tokens that it has been given
    Clock::time_point last_ran;  // when one of its sequences ran last, or when it came
  };

  struct Item {
    uint64_t id() const { return entry.id; }
    int priority() const { return static_cast<int>(entry.priority); }

    BatchEntry entry;
    Client* client = nullptr;
    int64_t prompt_left = 0;
    int rank = 0;            // the priority to which it had risen when it was admitted
    bool queued = true;      // a request that has never run
    bool begun = false;      // has been in a plan that was carried out, and holds its memory
    bool postponed = false;  // found no memory, and no sequence has been removed since
    // A request that found no memory when it was to start, and has not begun.
    bool lacks_memory = false;
    bool blocking = false;  // lacks memory, and requests that come after it do not start
    bool blocked = false;   // a request that comes after the blocking one
  };
  using Items = std::list<Item>;

  int64_t AgingPeriods(Clock::duration time) const;
  // The priority after aging. Negative: above kHigh.
  int64_t AgedRank(const Item& item, Clock::time_point now) const;
  // The same for the order in which sequences are admitted.
  int64_t AdmissionRank(const Item& item, Clock::time_point now) const;
  // The place in the order in which requests block each other: the least comes first.
  std::tuple<int64_t, double, uint64_t> BlockingOrder(const Item& item,
                                                      Clock::time_point now) const;
  // Records that the last plan has been carried out.
  void CommitLastPlan();
  // The request whose turn it is to block others, or nullptr.
  const Item* FindBlockingRequest(Clock::time_point now) const;
  void BlockLaterRequests(Clock::time_point now);
  void StopBlocking(Item& item);  // does nothing if the item does not block
  // The waiting sequence to admit next, or waiting_.end() if none may be admitted.
  Items::iterator NextToAdmit(const auto& rank);
  Items::iterator FindVictim();  // the last of the least urgent running sequences
  void Admit(Clock::time_point now);
  // Moves one place from the client with the most running sequences to one with fewer. Returns
  // false if the places are shared fairly.
  bool Rebalance(Clock::time_point now);
  void ReleasePostponed();
  void ClearMemoryShortages();  // no request blocks others afterwards
  // Move a sequence from waiting to running, and back.
  void Start(Items::iterator item, int rank);
  void Stop(Items::iterator item);
  // Divides `budget` prompt tokens among `reading`.
  void DistributePromptTokens(int64_t budget, std::vector<Item*> reading,
                              std::vector<BatchShare>& shares);
  void RemoveFromClient(const Item& item);
  double MinServed() const;

  BatcherOptions options_;
  Items waiting_;  // in order of arrival, except that sequences that ran before come first
  Items running_;  // in order of admission
  // Clients with sequences, and clients without any that have been given more tokens than the
  // least-served client with sequences. The latter are kept so that a client cannot reset its count
  // by leaving.
  std::map<std::string, Client> clients_;
  bool any_postponed_ = false;
  Clock::time_point planned_at_;    // of the last plan
  Clock::time_point last_blocked_;  // when a request last stopped blocking others
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_BATCHER_H_
