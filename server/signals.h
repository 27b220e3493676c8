// Delivers SIGTERM, SIGINT and SIGHUP as calls on an ordinary thread.
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
  enum class Action { kNone, kDrain, kExit, kReload };

  // The first SIGTERM or SIGINT asks the process to finish, a second one to end at once. Further
  // SIGTERMs within a second of the last are the same request: supervisors send it to a whole
  // process group, and again to the process. SIGHUP asks it to read its configuration again.
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

  // Calls `drain` for kDrain and `reload` for kReload, one after another, also if the signal
  // arrived before Start. kExit ends the process with exit code 128 + the signal's number, as if it
  // had not been caught.
  void Start(std::function<void()> drain, std::function<void()> reload);
  // Calls nothing any more once this returns. Signals stay blocked.
  void Stop();

 private:
  int signals_ = -1;  // signalfd
  int stop_ = -1;     // eventfd
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_SIGNALS_H_
