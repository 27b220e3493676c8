// Delivers SIGTERM and SIGINT as calls on an ordinary thread.
#ifndef WHIPSNAKE_SERVER_SIGNALS_H_
#define WHIPSNAKE_SERVER_SIGNALS_H_

#include <functional>
#include <thread>

namespace whipsnake::server {

// Must be constructed before any other thread starts: threads inherit the blocked signals.
class SignalWatcher {
 public:
  SignalWatcher();
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

  // Calls on_first on the first signal, including one that arrived before Start. A second signal
  // ends the process at once with exit code 128 + its number, as if it had not been caught.
  void Start(std::function<void()> on_first);

 private:
  int signals_ = -1;  // signalfd
  int stop_ = -1;     // eventfd
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_SIGNALS_H_
