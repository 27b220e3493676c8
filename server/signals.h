// SIGTERM and SIGINT as calls on an ordinary thread.
#ifndef WHIPSNAKE_SERVER_SIGNALS_H_
#define WHIPSNAKE_SERVER_SIGNALS_H_

#include <functional>
#include <thread>

namespace whipsnake::server {

// Construct it before any other thread: they inherit that the two signals are blocked.
class SignalWatcher {
 public:
  SignalWatcher();
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

  // Calls on_first at the first signal, also at one that came before Start. A second one ends the
  // process at once, with 128 + its number, as if it had not been caught.
  void Start(std::function<void()> on_first);

 private:
  int signals_ = -1;  // signalfd
  int stop_ = -1;     // eventfd
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_SIGNALS_H_
