// Finds the tokens allowed next in constrained outputs, in parallel with the model's steps.
//
// Usually the allowed tokens are already known and available at once. Otherwise finding them may
// take seconds. A ConstraintWorker's thread then does it in slices, in turn for all waiting
// outputs, and the sequence takes no part in the steps until the search is done.
#ifndef WHIPSNAKE_ENGINE_GENERATE_CONSTRAINT_WORKER_H_
#define WHIPSNAKE_ENGINE_GENERATE_CONSTRAINT_WORKER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/structured/constraint.h"

namespace whipsnake::engine {

class ConstraintWorker;

// One output and its constraint. Not thread-safe.
class ConstrainedOutput {
 public:
  // `worker` must outlive it.
  ConstrainedOutput(std::shared_ptr<Constraint> constraint, ConstraintWorker* worker);
  ConstrainedOutput(ConstrainedOutput&&) = default;
  ConstrainedOutput& operator=(ConstrainedOutput&&) = delete;
  // Abandons a search that the worker may still be running.
  ~ConstrainedOutput();

  // Appends a chosen token, which must have been allowed. Only while ready.
  void Advance(int32_t token);
  // Starts the search for the tokens allowed next, with at most `tokens_left` tokens still to
  // generate. Only while ready, or as the first call.
  void StartSearch(int64_t tokens_left);
  // Whether the search has ended. If it ends after StartSearch has returned, the worker calls
  // `on_found`.
  bool ready() const;
  // While ready: the allowed tokens, or RESOURCE_EXHAUSTED from Constraint::Find or because the
  // worker ran out of memory.
  const absl::StatusOr<std::shared_ptr<const NextTokens>>& next() const;

 private:
  friend class ConstraintWorker;

  // Used by the worker's thread until it is done, then by the output's thread.
  struct Search {
    std::shared_ptr<Constraint> constraint;
    Constraint::Cursor cursor;
    int64_t tokens_left = 0;
    absl::StatusOr<std::shared_ptr<const NextTokens>> next;
    std::atomic<bool> done{false};
    std::atomic<bool> abandoned{false};
  };

  std::shared_ptr<Search> search_;
  ConstraintWorker* worker_;
};

// Thread-safe.
class ConstraintWorker {
 public:
  // `on_found` is called on the worker's thread after each search; it must not block.
  explicit ConstraintWorker(std::function<void()> on_found);
  // Drops unfinished searches.
  ~ConstraintWorker();

 private:
  friend class ConstrainedOutput;
  using Search = std::shared_ptr<ConstrainedOutput::Search>;

  void Post(Search search);
  void Loop();
  // Runs one slice of the search. Returns false if the search is not done and was queued again.
  bool Advance(const Search& search);

  const std::function<void()> on_found_;
  Mutex mutex_;
  CondVar wake_;
  std::deque<Search> searches_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_CONSTRAINT_WORKER_H_
