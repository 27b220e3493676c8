// Cancels calls whose clients do not read the end of the call.
//
// A client may keep its connection alive but read nothing. HTTP/2's flow control then holds back
// the response, and the memory booked for it, for as long as the client likes. So once the end of a
// call is ready, the client has a limited time to read it; after that the call is cancelled.
#ifndef WHIPSNAKE_SERVER_RPC_END_TIMEOUT_H_
#define WHIPSNAKE_SERVER_RPC_END_TIMEOUT_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_interceptor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "engine/base/mutex.h"

namespace whipsnake::server {

// The timeout of one call. Start, CallOff and Stop are not thread-safe against each other; an alarm
// may fire at any time.
class EndTimeout {
 public:
  // `context` must stay valid until Stop or the destructor has returned.
  explicit EndTimeout(grpc::ServerContextBase* context);
  ~EndTimeout() { Stop(); }

  // Cancels the call after `timeout`, counted from the last call of this function.
  void Start(std::chrono::milliseconds timeout);
  // Calls that off.
  void CallOff() { alarm_.reset(); }
  // Cancels the call at once, on another thread. Called at most once, on any thread.
  void Expire();
  // To be called when the call is over: it will no longer be cancelled.
  void Stop();

 private:
  // What an alarm calls.
  std::function<void(bool)> Cancellation() const;

  struct Target {
    engine::Mutex mutex;
    grpc::ServerContextBase* context ABSL_GUARDED_BY(mutex);  // null once the call is over
  };

  // Shared, because the alarm's function may still be running while this object is destroyed.
  const std::shared_ptr<Target> target_;
  std::optional<grpc::Alarm> alarm_;
  grpc::Alarm expiry_;
};

// For ServerBuilder::experimental().SetInterceptorCreators: gives every call `timeout` from when
// its status is sent. A call that sends messages before that must bound them itself.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeEndTimeouts(
    std::chrono::milliseconds timeout);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_END_TIMEOUT_H_
