// Finds the tokens allowed next in constrained outputs, in parallel with the model's steps.
//
// Usually the allowed tokens are already known and available at once. Otherwise finding them may
// take seconds. A FormWorker's thread then does it in slices, in turn for all waiting outputs, and
// the sequence takes no part in the steps until the search is done.
#ifndef WHIPSNAKE_ENGINE_GENERATE_FORM_WORKER_H_
#define WHIPSNAKE_ENGINE_GENERATE_FORM_WORKER_H_

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

class FormWorker;

// One output and its constraint. Not thread-safe.
class FormedOutput {
 public:
  // `worker` must outlive it.
  FormedOutput(std::shared_ptr<Constraint> constraint, FormWorker* worker);
  FormedOutput(FormedOutput&&) = default;
  FormedOutput& operator=(FormedOutput&&) = delete;
  // Abandons a search that the worker may still be running.
  ~FormedOutput();

  // Appends a chosen token, which must have been allowed. Only while ready.
  void Advance(int32_t token);
  // Starts the search for the tokens allowed next, with `tokens_left` tokens still to generate at
  // most. Only while ready, or as the first call.
  void Seek(int64_t tokens_left);
  // Whether the search has ended. If it ends after Seek has returned, the worker calls `on_found`.
  bool ready() const;
  // While ready: the allowed tokens, or RESOURCE_EXHAUSTED from Constraint::Find or because the
  // worker ran out of memory.
  const absl::StatusOr<std::shared_ptr<const NextTokens>>& next() const;

 private:
  friend class FormWorker;

  // Used by the worker's thread until it is done, then by the output's thread.
  struct Search {
    std::shared_ptr<Constraint> constraint;
    Constraint::Place place;
    int64_t tokens_left = 0;
    absl::StatusOr<std::shared_ptr<const NextTokens>> next;
    std::atomic<bool> done{false};
    std::atomic<bool> abandoned{false};
  };

  std::shared_ptr<Search> search_;
  FormWorker* worker_;
};

// Thread-safe.
class FormWorker {
 public:
  // `on_found` is called on the worker's thread after each search; it must not block.
  explicit FormWorker(std::function<void()> on_found);
  // Drops unfinished searches.
  ~FormWorker();

 private:
  friend class FormedOutput;
  using Search = std::shared_ptr<FormedOutput::Search>;

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

#endif  // WHIPSNAKE_ENGINE_GENERATE_FORM_WORKER_H_
