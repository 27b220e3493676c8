#include "server/http/hangups.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/guarded.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kStopNumber = 0;  // of the eventfd; those of sockets are above it

bool Watch(int epoll, int descriptor, uint32_t events, int64_t number) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(number);
  return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Hangups>> Hangups::Start() {
  engine::Descriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  engine::Descriptor stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (epoll.get() < 0 || stop.get() < 0 || !Watch(epoll.get(), stop.get(), EPOLLIN, kStopNumber)) {
    return absl::UnavailableError(
        absl::StrCat("cannot watch the connections of HTTP: ", std::strerror(errno)));
  }
  return std::unique_ptr<Hangups>(new Hangups(std::move(epoll), std::move(stop)));
}

Hangups::Hangups(engine::Descriptor epoll, engine::Descriptor stop)
    : epoll_(std::move(epoll)), stop_(std::move(stop)), thread_([this] { Run(); }) {}

Hangups::~Hangups() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

int64_t Hangups::Add(int socket, std::function<void()> gone) {
  int64_t number = 0;
  {
    engine::MutexLock lock(mutex_);
    number = ++last_number_;
    watched_[number] = std::move(gone);
  }
  // A socket that cannot be watched is noticed by the next write to it.
  Watch(epoll_.get(), socket, EPOLLRDHUP | EPOLLONESHOT, number);
  return number;
}

void Hangups::Remove(int64_t number, int socket) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket, nullptr);
  engine::MutexLock lock(mutex_);
  watched_.erase(number);
}

void Hangups::Run() {
  while (true) {
    epoll_event event{};
    const int count = epoll_wait(epoll_.get(), &event, 1, -1);
    if (count < 0 && errno != EINTR) return;
    if (count <= 0) continue;
    const auto number = static_cast<int64_t>(event.data.u64);
    if (number == kStopNumber) return;
    std::function<void()> gone;
    {
      engine::MutexLock lock(mutex_);
      const auto found = watched_.find(number);
      if (found != watched_.end()) gone = std::exchange(found->second, nullptr);
    }
    if (gone) RunGuarded("http hangups", gone);
  }
}

}  // namespace whipsnake::server
