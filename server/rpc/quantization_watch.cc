#include "server/rpc/quantization_watch.h"

#include <memory>
#include <optional>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/guarded.h"
#include "server/rpc/end_timeout.h"
#include "server/rpc/latest_stream.h"
#include "server/rpc/messages.h"
#include "server/rpc/quantization_request.h"

namespace whipsnake::server {
namespace {

// The jobs hold a weak reference, and a strong one while they notify, because gRPC may be done with
// this object during a notification.
class Watch final : public LatestStream, public QuantizationWatcher {
 public:
  Watch(grpc::CallbackServerContext* context, std::chrono::milliseconds end_timeout)
      : patience_(end_timeout), end_timeout_(context) {}

  void Begin(std::shared_ptr<Watch> self, QuantizationJobs& jobs,
             grpc::CallbackServerContext* context, const grpc::ByteBuffer& bytes) {
    KeepAlive(self);
    v1::WatchQuantizationRequest request;
    const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
      RETURN_IF_ERROR(ParseMessage(bytes, &request));
      return jobs.Watch(request.id(), self);
    });
    if (status.ok()) return;
    End(MakeEnd([&] { return EndCallAndLog(context, MethodOf(request), status); }));
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

 private:
  absl::StatusOr<Step> Next(grpc::ByteBuffer& message) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (lost_) return absl::ResourceExhaustedError("out of memory for a change");
    if (latest_.version > written_version_) {
      v1::WatchQuantizationResponse response;
      *response.mutable_quantization() = ToProto(latest_);
      message = SerializeMessage(response);
      written_version_ = latest_.version;
      return Step::kWrite;
    }
    return HasEnded(latest_.state) ? Step::kEnd : Step::kWait;
  }

  void OnEnd() override { end_timeout_.Stop(); }

  const std::chrono::milliseconds patience_;
  EndTimeout end_timeout_;
  QuantizationSnapshot latest_ ABSL_GUARDED_BY(mutex_);
  int64_t written_version_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;  // the job has ended, and end_timeout_ runs
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;    // a snapshot, for lack of memory
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
