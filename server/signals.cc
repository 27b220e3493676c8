#include "server/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "server/logging.h"

namespace whipsnake::server {

SignalMeaning::Action SignalMeaning::Of(int signal, Time now) {
  constexpr std::chrono::seconds kSameRequest{1};
  if (signal == SIGHUP) return Action::kReload;
  const std::optional<Time> last = std::exchange(last_, now);
  if (!last) return Action::kDrain;
  return signal == SIGTERM && now - *last < kSameRequest ? Action::kNone : Action::kExit;
}

SignalWatcher::SignalWatcher() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC);
  stop_ = eventfd(0, EFD_CLOEXEC);
}

SignalWatcher::~SignalWatcher() {
  Stop();
  close(signals_);
  close(stop_);
}

void SignalWatcher::Stop() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    while (write(stop_, &one, sizeof(one)) < 0) continue;
    thread_.join();
  }
}

void SignalWatcher::Start(std::function<void()> drain, std::function<void()> reload) {
  thread_ = std::thread([this, drain = std::move(drain), reload = std::move(reload)] {
    SignalMeaning meaning;
    pollfd descriptors[] = {{signals_, POLLIN, 0}, {stop_, POLLIN, 0}};
    while (true) {
      if (poll(descriptors, 2, -1) < 0) continue;
      if (descriptors[1].revents != 0) return;
      signalfd_siginfo info;
      if (read(signals_, &info, sizeof(info)) != sizeof(info)) continue;
      const int signal = static_cast<int>(info.ssi_signo);
      switch (meaning.Of(signal, std::chrono::steady_clock::now())) {
        case SignalMeaning::Action::kNone:
          Log(LogLevel::kInfo, "a signal has no effect", {{"signal", int64_t{signal}}});
          break;
        case SignalMeaning::Action::kDrain:
          drain();
          break;
        case SignalMeaning::Action::kReload:
          reload();
          break;
        case SignalMeaning::Action::kExit:
          _exit(128 + signal);
      }
    }
  });
}

}  // namespace whipsnake::server
