// Continuous batching as a state machine: decides which sequences compute in the next forward pass,
// and how much of each.
//
// Sequences join and leave between steps. A step gives one token to every running sequence that is
// past its prompt, and divides a budget of prompt tokens among those that still read theirs. A long
// prompt thus slows the other sequences by a bounded amount and never stops them. More urgent
// prompts are read first. Among equals, half of the budget goes to the prompt that was admitted
// first, so that it always progresses. The rest goes to the shortest prompts first, so that they
// need not wait for the end of a long one.
//
// If more sequences wait than may run, they are admitted in this order:
//   - the more urgent first; a waiting sequence rises by one priority every `aging`, so that none
//     starves;
//   - among equals, the sequences of the client that has been given the fewest tokens, after the
//     "virtual token counter" (Sheng et al., Fairness in Serving Large Language Models, arXiv
//     2401.00588);
//   - within a client, in the order of arrival.
//
// A request that finds no memory when it is to start keeps its place in this order. It waits until
// another sequence is removed, and until it has begun, no request that comes after it starts.
// Returned memory thus accumulates for it, and it begins at the latest when all sequences that have
// begun are over. Requests that come before it still start, and the sequences of requests that have
// begun continue. If no sequence has begun, none has memory to return; the other requests then do
// not wait, as they may need less memory.
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
  void TakeBack(const BatchShare& share);

  // Skips the first `tokens` tokens of a sequence's prompt, which need no computation. `share` is
  // its first share, from the last plan. Returns what is left of that share, possibly nothing.
  BatchShare Skip(const BatchShare& share, int64_t tokens);

  // Splits a sequence that has read its prompt: `copy` continues from there beside `id`. The limits
  // of the queue do not apply to it.
  void Fork(uint64_t id, uint64_t copy);

  // Removes a sequence that has ended, whether it waits or runs. Unknown ids are ignored.
  void Remove(uint64_t id);

  // Undoes shares of the last plan whose sequences found no memory. The sequences wait again and
  // are not admitted until another one has been removed; neither are the requests that come after
  // them. Returns false if no other sequence has begun and so has memory to return. Waiting then
  // does not help, and all may be admitted at once.
  bool Postpone(std::span<const BatchShare> shares);

  // The sequences that have begun and must give up their memory for `id` if memory is short: first
  // those that wait, then those of clients with at least two more running that are not more urgent.
  // Within each group the last one comes first.
  std::vector<uint64_t> WhoYieldsTo(uint64_t id);

  // The sequence has lost its state: it waits, and reads `tokens` tokens before it continues.
  void Restart(uint64_t id, int64_t tokens);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }

 private:
  struct Client {
    int64_t sequences = 0;  // waiting and running
    int64_t running = 0;
    double served = 0;  // tokens that it has been given
  };

  struct Item {
    uint64_t id() const { return entry.id; }
    int priority() const { return static_cast<int>(entry.priority); }

    BatchEntry entry;
    Client* client = nullptr;
    int64_t prompt_left = 0;
    int rank = 0;         // the aged priority with which it was admitted
    bool queued = true;   // a request that has never run
    bool begun = false;   // has been in a plan that was carried out, and holds its memory
    bool held = false;    // found no memory, and no sequence has been removed since
    bool lacks = false;   // a request that found no memory when it was to start, and has not begun
    bool barred = false;  // a request that comes after one that lacks memory
  };
  using Items = std::list<Item>;

  int AgedRank(const Item& item, Clock::time_point now) const;
  // Records that the last plan has been carried out.
  void NoteBegun();
  void BarLaterRequests(Clock::time_point now);
  // The waiting sequence to admit next, or waiting_.end() if none may be admitted.
  Items::iterator Next(const auto& rank);
  Items::iterator Victim();  // the last of the least urgent running sequences
  void Admit(Clock::time_point now);
  // Moves one place from the client with the most running sequences to one with fewer. Returns
  // false if the places are shared fairly.
  bool Rebalance(Clock::time_point now);
  void LetHeldGo();
  void LiftBars();
  // Move a sequence from waiting to running, and back.
  void Start(Items::iterator item, int rank);
  void Stop(Items::iterator item);
  // Divides `budget` prompt tokens among `reading`.
  void ShareOut(int64_t budget, std::vector<Item*> reading, std::vector<BatchShare>& shares);
  void Forget(const Item& item);
  double LeastServed() const;

  const BatcherOptions options_;
  Items waiting_;  // in order of arrival, except that sequences that ran before come first
  Items running_;  // in order of admission
  // Clients with sequences, and clients without any that have been given more tokens than the
  // least-served client with sequences. The latter are kept so that a client cannot reset its count
  // by leaving.
  std::map<std::string, Client> clients_;
  bool any_held_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_BATCHER_H_
