// Ends calls whose clients do not read how they end.
//
// A client may keep its connection alive and take nothing: HTTP/2's flow control then holds the
// response back for as long as the client likes, with the memory that the response is booked for.
// So a call whose end is ready is given a time in which the client must have taken it, and is
// cancelled after that.
#ifndef WHIPSNAKE_SERVER_RPC_END_TIMEOUT_H_
#define WHIPSNAKE_SERVER_RPC_END_TIMEOUT_H_

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_interceptor.h>

#include <chrono>
#include <memory>

#include "engine/base/mutex.h"

namespace whipsnake::server {

// Of one call. Not thread-safe, but that the alarm may go off at any time.
class EndTimeout {
 public:
  // `context` is there until Stop, or else the destructor, has returned.
  explicit EndTimeout(grpc::ServerContextBase* context);
  ~EndTimeout() { Stop(); }

  // Cancels the call after `timeout`. At most once.
  void Start(std::chrono::milliseconds timeout);
  // The call is over.
  void Stop();

 private:
  struct Target {
    engine::Mutex mutex;
    grpc::ServerContextBase* context ABSL_GUARDED_BY(mutex);  // null once the call is over
  };

  // The alarm's function may be under way while this object is destroyed.
  const std::shared_ptr<Target> target_;
  grpc::Alarm alarm_;
};

// For ServerBuilder::experimental().SetInterceptorCreators: gives every call `timeout` from the
// moment that its status is sent. A call that sends messages before that bounds them itself.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeEndTimeouts(
    std::chrono::milliseconds timeout);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_END_TIMEOUT_H_
