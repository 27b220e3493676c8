// Delivers SIGTERM and SIGINT as calls on an ordinary thread. SIGHUP is logged and has no other
// effect, so that closing the terminal of a daemon does not end it.
#ifndef WHIPSNAKE_SERVER_SIGNALS_H_
#define WHIPSNAKE_SERVER_SIGNALS_H_

#include <chrono>
#include <functional>
#include <optional>
#include <thread>

namespace whipsnake::server {

// What each signal means, in the order of their arrival.
class SignalMeaning {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Action { kNone, kDrain, kExit };

  // The first SIGTERM or SIGINT asks the process to finish, a second one to end at once. Further
  // SIGTERMs within a second of the last are the same request: supervisors send it to a whole
  // process group, and again to the process. SIGHUP means nothing.
  Action Of(int signal, Time now);

 private:
  std::optional<Time> last_;
};

// Must be constructed before any other thread starts: threads inherit the blocked signals.
class SignalWatcher {
 public:
  SignalWatcher();
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

  // Calls on_first for kDrain, also if the signal arrived before Start. kExit ends the process with
  // exit code 128 + the signal's number, as if it had not been caught.
  void Start(std::function<void()> on_first);

 private:
  int signals_ = -1;  // signalfd
  int stop_ = -1;     // eventfd
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_SIGNALS_H_
