// Continuous batching as a state machine: which sequences compute in the next forward pass, and how
// much of each.
//
// Sequences join and leave between steps. A step gives one token to every running sequence that is
// past its prompt, and shares out a budget of prompt tokens to those that are not, so that a long
// prompt slows the others' tokens by a bounded amount and never stops them. Of the prompts the more
// urgent is read first; among equals half of the budget is for the one that was admitted first, so
// that it gets on whatever comes, and the rest for the shortest, which need not wait for the end of
// a long one.
//
// Who runs next, where more wait than may run:
//   - the more urgent first; who waits rises by one priority in every `aging`, so nobody starves;
//   - among equals the client that has been given the fewest tokens, after "virtual token counter"
//     (Sheng et al., Fairness in Serving Large Language Models, arXiv 2401.00588);
//   - of one client, who came first.
//
// Who finds no memory keeps its turn. A request that was to start and found none waits for another
// sequence to be removed, and until it has begun no request starts that comes after it in the order
// above: what is given back adds up for it, so that it begins, at the latest, once all that have
// begun are over. Requests that come before it start all the same, and the sequences of those that
// have begun go on. Where nobody has begun, and so has memory to give back, the others need not
// wait with it: they may find what it does not.
//
// Two reasons take the place of a running sequence, which waits again and goes on from where it
// was:
//   - a request is more urgent than one that runs;
//   - a client has at least two sequences fewer running than another, whose last one then makes
//     room for one that is as urgent. So the sequences that run are shared equally, however many of
//     them a request has. A difference of one moves nobody: the two would change places for ever.
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
  int64_t max_waiting_tokens = int64_t{1} << 20;  // of their prompts
  // Prompt tokens of a step: where no sequence decodes, and where one does. Cancellation and
  // deadlines are looked at between steps.
  int64_t prefill_chunk_tokens = 512;
  int64_t mixed_chunk_tokens = 32;
  Clock::duration aging = std::chrono::seconds(5);
};

// What the batcher knows of a request.
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
  int64_t prompt_tokens = 0;  // 0: the token that was chosen last
};

// Not thread-safe; knows no model and no clock.
class Batcher {
 public:
  explicit Batcher(const BatcherOptions& options) : options_(options) {}

  // Queues a request. RESOURCE_EXHAUSTED where the queue has as many requests or tokens as it may;
  // an empty queue takes a prompt of any length.
  absl::Status Add(const BatchEntry& entry);

  // The next step, which is taken to be done; empty when nothing is there. Decoding sequences come
  // first, then those that read their prompts. A running sequence that is not `ready` sits out.
  std::vector<BatchShare> Plan(
      Clock::time_point now,
      const std::function<bool(uint64_t id)>& ready = [](uint64_t) { return true; });

  // Undoes a share of the last plan. The sequence keeps its place.
  void TakeBack(const BatchShare& share);

  // The first `tokens` of a sequence's prompt were found to need no computing.
  // Returns what is left of its first share, which was just planned: possibly nothing.
  BatchShare Skip(const BatchShare& share, int64_t tokens);

  // A sequence that has read its prompt becomes two: `copy` goes on from there beside `id`. The
  // bounds of the queue are not for it.
  void Fork(uint64_t id, uint64_t copy);

  // It has ended, wherever it was. Unknown ids are ignored.
  void Remove(uint64_t id);

  // Undoes shares of the last plan for want of memory: their sequences wait again, and are not
  // admitted until another has been removed, nor are the requests that come after theirs. Returns
  // false where no other has run, and so has memory to give back: then waiting for it does not
  // help, and all may be admitted at once.
  bool Postpone(std::span<const BatchShare> shares);

  // Those that have run and would have to make room for `id`, if it is memory that is short: first
  // the ones that wait, then those of clients with at least two more running. The last comes first.
  std::vector<uint64_t> WhoYieldsTo(uint64_t id);

  // The sequence's state is gone: it waits, and reads so many tokens before it goes on.
  void Restart(uint64_t id, int64_t tokens);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }

 private:
  struct Client {
    int64_t sequences = 0;  // waiting and running
    int64_t running = 0;
    double served = 0;  // tokens
  };

  struct Item {
    uint64_t id() const { return entry.id; }
    int priority() const { return static_cast<int>(entry.priority); }

    BatchEntry entry;
    Client* client = nullptr;
    int64_t prompt_left = 0;
    int rank = 0;         // the priority, aged, that it was admitted with
    bool queued = true;   // a request that has never run
    bool begun = false;   // has been in a plan that was carried out, and has its memory since
    bool held = false;    // found no memory, and nobody has been removed since
    bool lacks = false;   // a request that found no memory when it was to start, and has not begun
    bool barred = false;  // a request that comes after one that lacks memory
  };
  using Items = std::list<Item>;

  int AgedRank(const Item& item, Clock::time_point now) const;
  // What was planned last has been carried out.
  void NoteBegun();
  void BarLaterRequests(Clock::time_point now);
  // Of the waiting who may be admitted the next one, or their end.
  Items::iterator Next(const auto& rank);
  Items::iterator Victim();  // of the running: the last of the least urgent
  void Admit(Clock::time_point now);
  // Gives one place from the client with the most to one with fewer; false where all is fair.
  bool Rebalance(Clock::time_point now);
  void LetHeldGo();
  void LiftBars();
  // From waiting to running, and back.
  void Start(Items::iterator item, int rank);
  void Stop(Items::iterator item);
  // Of prompt tokens, to `reading`.
  void ShareOut(int64_t budget, std::vector<Item*> reading, std::vector<BatchShare>& shares);
  void Forget(const Item& item);
  double LeastServed() const;

  const BatcherOptions options_;
  Items waiting_;  // in order of arrival, but that those who ran before come first
  Items running_;  // in order of admission
  // Those with sequences, and those who have been given more than they: none starts anew by
  // leaving.
  std::map<std::string, Client> clients_;
  bool any_held_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_BATCHER_H_
