// What may come next in outputs that are held to a form, found beside the steps of the model.
//
// Mostly it is known, and had at once. Where it is not, finding it may take seconds: that is done
// by a FormWorker's thread in slices, in turn for all who wait, and the sequence sits out of the
// steps until then.
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

// One output and its form. Not thread-safe.
class FormedOutput {
 public:
  // `worker` outlives it.
  FormedOutput(std::shared_ptr<Constraint> constraint, FormWorker* worker);
  FormedOutput(FormedOutput&&) = default;
  FormedOutput& operator=(FormedOutput&&) = delete;
  // Nobody wants what the worker may still be looking for.
  ~FormedOutput();

  // A token that was allowed is chosen. While ready.
  void Advance(int32_t token);
  // Begins to find what may come next where so many tokens may still be generated. While ready, or
  // at first.
  void Seek(int64_t tokens_left);
  // Whether Seek has come to its end; it calls the worker's `on_found` where that is later.
  bool ready() const;
  // While ready: what was found, or RESOURCE_EXHAUSTED as Constraint::Find, also where the worker
  // found no memory.
  const absl::StatusOr<std::shared_ptr<const NextTokens>>& next() const;

 private:
  friend class FormWorker;

  // Touched by the worker's thread until it is done, then by the output's.
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
  // Leaves undone what is not done.
  ~FormWorker();

 private:
  friend class FormedOutput;
  using Search = std::shared_ptr<FormedOutput::Search>;

  void Post(Search search);
  void Loop();
  // A slice of it; false where it is not done, and waits for its next turn.
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
