// Notices that a client has closed its connection while nothing is sent on it.
#ifndef WHIPSNAKE_SERVER_HTTP_HANGUPS_H_
#define WHIPSNAKE_SERVER_HTTP_HANGUPS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "engine/base/files.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// libmicrohttpd does not look at the socket of a suspended connection. One thread watches all of
// them. Thread-safe.
class Hangups {
 public:
  // UNAVAILABLE if the system has no descriptors left.
  static absl::StatusOr<std::unique_ptr<Hangups>> Start();
  ~Hangups();
  Hangups(const Hangups&) = delete;
  Hangups& operator=(const Hangups&) = delete;

  // Calls `gone` once, on the thread of this object, when the other end closes the socket or shuts
  // it down for writing. Returns a number for Remove, which must be called before the socket is
  // closed.
  int64_t Add(int socket, std::function<void()> gone);
  // `gone` may still be running when this returns.
  void Remove(int64_t number, int socket);

 private:
  Hangups(engine::Descriptor epoll, engine::Descriptor stop);
  void Run();

  const engine::Descriptor epoll_;
  const engine::Descriptor stop_;  // eventfd
  engine::Mutex mutex_;
  int64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::function<void()>> watched_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_HTTP_HANGUPS_H_
