#include "server/rpc/quantization_watch.h"

#include <memory>
#include <optional>

#include "engine/base/status.h"
#include "server/rpc/messages.h"
#include "server/rpc/quantization_request.h"

namespace whipsnake::server {
namespace {

// The jobs hold a weak reference, and a strong one while they notify, because gRPC may be done with
// this object during a notification.
class Watch final : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public QuantizationWatcher {
 public:
  void Begin(std::shared_ptr<Watch> self, QuantizationJobs& jobs,
             grpc::CallbackServerContext* context, const grpc::ByteBuffer& bytes) {
    self_ = self;
    v1::WatchQuantizationRequest request;
    absl::Status status = ParseMessage(bytes, &request);
    if (status.ok()) status = jobs.Watch(request.id(), self);
    if (status.ok()) return;
    {
      engine::MutexLock lock(mutex_);
      finished_ = true;
    }
    Finish(EndCallAndLog(context, MethodOf(request), RequestIdOf(*context), status));
  }

  void OnSnapshot(const QuantizationSnapshot& snapshot) override {
    {
      engine::MutexLock lock(mutex_);
      if (snapshot.version > latest_.version) latest_ = snapshot;
    }
    Pump();
  }

  void OnWriteDone(bool ok) override {
    {
      engine::MutexLock lock(mutex_);
      writing_ = false;
      if (!ok) gone_ = true;
    }
    Pump();
  }

  void OnCancel() override {
    {
      engine::MutexLock lock(mutex_);
      gone_ = true;
    }
    Pump();
  }

  void OnDone() override {
    // Orders this after the last Pump, also for ThreadSanitizer.
    { engine::MutexLock lock(mutex_); }
    self_.reset();
  }

 private:
  // Writes a new snapshot, or finishes, or does nothing if a write is in flight or nothing is new.
  // Thread-safe.
  void Pump() {
    std::optional<grpc::Status> end;
    {
      engine::MutexLock lock(mutex_);
      if (writing_ || finished_) return;
      if (gone_) {
        end = ToGrpc(absl::CancelledError("the client has left"));
      } else if (latest_.version > written_version_) {
        writing_ = true;
        written_version_ = latest_.version;
        v1::WatchQuantizationResponse message;
        *message.mutable_quantization() = ToProto(latest_);
        current_ = SerializeMessage(message);
      } else if (HasEnded(latest_.state)) {
        end = grpc::Status::OK;
      } else {
        return;
      }
      finished_ = end.has_value();
    }
    // Outside the lock: the flags keep other threads away, and gRPC may destroy this object before
    // Finish returns.
    if (end) {
      Finish(*end);
    } else {
      StartWrite(&current_);
    }
  }

  std::shared_ptr<Watch> self_;
  engine::Mutex mutex_;
  QuantizationSnapshot latest_ ABSL_GUARDED_BY(mutex_);
  int64_t written_version_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::ByteBuffer current_;  // owned by the thread that set writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartQuantizationWatch(
    QuantizationJobs& jobs, grpc::CallbackServerContext* context, const grpc::ByteBuffer& request) {
  const auto watch = std::make_shared<Watch>();
  watch->Begin(watch, jobs, context, request);
  return watch.get();
}

}  // namespace whipsnake::server
