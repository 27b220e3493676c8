// A server stream that writes the latest value of something that changes.
#ifndef WHIPSNAKE_SERVER_RPC_LATEST_STREAM_H_
#define WHIPSNAKE_SERVER_RPC_LATEST_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// At most one write is in flight. If the value changes in the meantime, the latest one is written
// next, so a slow client misses values but holds up nobody. The stream owns itself from KeepAlive
// to the end of the call. Thread-safe.
class LatestStream : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // Does what Next says, unless a write is in flight or the call has ended. Must be called after
  // every change.
  void Pump();

  void OnWriteDone(bool ok) final;
  void OnCancel() final;
  void OnDone() final;

 protected:
  enum class Step { kWait, kWrite, kEnd };

  // Must be called before the first Pump or End.
  void KeepAlive(std::shared_ptr<LatestStream> self) { self_ = std::move(self); }
  // Ends a call that has written nothing.
  void End(grpc::Status status);

  // Returns what to do next. For kWrite it has put the latest value into `message`. An error ends
  // the call; so does an exception, as in MakeEnd.
  virtual absl::StatusOr<Step> Next(grpc::ByteBuffer& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  // A message is about to be written, and it has been, so far as the client must read for that.
  virtual void OnWriting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {}
  virtual void OnWritten() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {}
  // The call is over, but other threads may still be in Pump.
  virtual void OnEnd() = 0;

  engine::Mutex mutex_;

 private:
  std::shared_ptr<LatestStream> self_;
  grpc::ByteBuffer current_;  // being written; owned by the thread that set writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_LATEST_STREAM_H_
