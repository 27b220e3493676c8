#include "server/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace whipsnake::server {

SignalWatcher::SignalWatcher() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC);
  stop_ = eventfd(0, EFD_CLOEXEC);
}

SignalWatcher::~SignalWatcher() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    while (write(stop_, &one, sizeof(one)) < 0) continue;
    thread_.join();
  }
  close(signals_);
  close(stop_);
}

void SignalWatcher::Start(std::function<void()> on_first) {
  thread_ = std::thread([this, on_first = std::move(on_first)] {
    bool first = true;
    pollfd descriptors[] = {{signals_, POLLIN, 0}, {stop_, POLLIN, 0}};
    while (true) {
      if (poll(descriptors, 2, -1) < 0) continue;
      if (descriptors[1].revents != 0) return;
      signalfd_siginfo info;
      if (read(signals_, &info, sizeof(info)) != sizeof(info)) continue;
      if (!first) _exit(128 + static_cast<int>(info.ssi_signo));
      first = false;
      on_first();
    }
  });
}

}  // namespace whipsnake::server
