// A thread that notifies consumers of new output.
//
// Sending a token takes the server some time, and a step cannot begin before the tokens of the last
// step are handed over. Consumers are therefore notified in parallel with the next step.
#ifndef WHIPSNAKE_ENGINE_GENERATE_NOTIFIER_H_
#define WHIPSNAKE_ENGINE_GENERATE_NOTIFIER_H_

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"

namespace whipsnake::engine {

// Thread-safe.
class Notifier {
 public:
  using Callback = std::shared_ptr<const std::function<void()>>;

  Notifier() : thread_([this] { Loop(); }) {}
  // Calls all posted notices first.
  ~Notifier();

  // Calls the notice soon, on the notifier's thread, in the order of the posts. It must not block.
  void Post(Callback callback);

 private:
  void Loop();

  Mutex mutex_;
  CondVar wake_;
  std::vector<Callback> posted_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_NOTIFIER_H_
