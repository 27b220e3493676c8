#include "server/rpc/quantization_watch.h"

#include <memory>
#include <optional>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/guarded.h"
#include "server/rpc/end_timeout.h"
#include "server/rpc/messages.h"
#include "server/rpc/quantization_request.h"

namespace whipsnake::server {
namespace {

// The jobs hold a weak reference, and a strong one while they notify, because gRPC may be done with
// this object during a notification.
class Watch final : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public QuantizationWatcher {
 public:
  Watch(grpc::CallbackServerContext* context, std::chrono::milliseconds end_timeout)
      : patience_(end_timeout), end_timeout_(context) {}

  void Begin(std::shared_ptr<Watch> self, QuantizationJobs& jobs,
             grpc::CallbackServerContext* context, const grpc::ByteBuffer& bytes) {
    self_ = self;
    v1::WatchQuantizationRequest request;
    const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
      RETURN_IF_ERROR(ParseMessage(bytes, &request));
      return jobs.Watch(request.id(), self);
    });
    if (status.ok()) return;
    {
      engine::MutexLock lock(mutex_);
      finished_ = true;
    }
    Finish(MakeEnd(
        [&] { return EndCallAndLog(context, MethodOf(request), RequestIdOf(*context), status); }));
  }

  void OnSnapshot(const QuantizationSnapshot& snapshot) override {
    std::optional<QuantizationSnapshot> copy;
    RunGuarded("quantizations", [&] { copy = snapshot; });
    bool ends = false;
    {
      engine::MutexLock lock(mutex_);
      if (!copy) {
        lost_ = true;
      } else if (copy->version > latest_.version) {
        latest_ = *std::move(copy);
      }
      ends = HasEnded(snapshot.state) && !std::exchange(ending_, true);
    }
    // From here on the client has limited time to read the rest.
    if (ends) RunGuarded("quantizations", [&] { end_timeout_.Start(patience_); });
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
    end_timeout_.Stop();
    // Orders this after the last Pump, also for ThreadSanitizer.
    { engine::MutexLock lock(mutex_); }
    self_.reset();
  }

 private:
  // Writes a new snapshot, or finishes, or does nothing if a write is in flight or nothing is new.
  // Thread-safe.
  void Pump() {
    grpc::Status end;
    bool write = false;
    {
      engine::MutexLock lock(mutex_);
      if (writing_ || finished_) return;
      const bool is_new = latest_.version > written_version_;
      if (!gone_ && !lost_ && !is_new && !HasEnded(latest_.state)) return;
      end = MakeEnd([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        if (gone_) return ToGrpc(absl::CancelledError("the client disconnected"));
        if (lost_) return ToGrpc(absl::ResourceExhaustedError("out of memory for a change"));
        if (is_new) {
          Serialize();
          write = true;
        }
        return grpc::Status::OK;
      });
      writing_ = write;
      finished_ = !write;
    }
    // Outside the lock: the flags keep other threads away, and gRPC may destroy this object before
    // Finish returns.
    if (write) {
      StartWrite(&current_);
    } else {
      Finish(std::move(end));
    }
  }

  void Serialize() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    v1::WatchQuantizationResponse message;
    *message.mutable_quantization() = ToProto(latest_);
    current_ = SerializeMessage(message);
    written_version_ = latest_.version;
  }

  const std::chrono::milliseconds patience_;
  EndTimeout end_timeout_;
  std::shared_ptr<Watch> self_;
  engine::Mutex mutex_;
  QuantizationSnapshot latest_ ABSL_GUARDED_BY(mutex_);
  int64_t written_version_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::ByteBuffer current_;  // owned by the thread that set writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;  // the job has ended, and end_timeout_ runs
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;    // a snapshot, for lack of memory
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartQuantizationWatch(
    QuantizationJobs& jobs, std::chrono::milliseconds end_timeout,
    grpc::CallbackServerContext* context, const grpc::ByteBuffer& request) {
  const auto watch = std::make_shared<Watch>(context, end_timeout);
  watch->Begin(watch, jobs, context, request);
  return watch.get();
}

}  // namespace whipsnake::server
