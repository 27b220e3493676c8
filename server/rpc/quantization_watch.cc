#include "server/rpc/quantization_watch.h"

#include <memory>
#include <string>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/jobs/quantization_kind.h"
#include "server/rpc/end_timeout.h"
#include "server/rpc/latest_stream.h"
#include "server/rpc/messages.h"
#include "server/rpc/quantization_request.h"

namespace whipsnake::server {
namespace {

// The queue holds a weak reference, and a strong one while it notifies, because gRPC may be done
// with this object during a notification.
class Watch final : public LatestStream, public JobWatcher {
 public:
  Watch(JobQueue& jobs, grpc::CallbackServerContext* context, std::chrono::milliseconds end_timeout)
      : jobs_(jobs), patience_(end_timeout), end_timeout_(context) {}

  void Begin(std::shared_ptr<Watch> self, grpc::CallbackServerContext* context,
             const grpc::ByteBuffer& bytes) {
    KeepAlive(self);
    v1::WatchQuantizationRequest request;
    const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
      RETURN_IF_ERROR(ParseMessage(bytes, &request));
      {
        engine::MutexLock lock(mutex_);
        id_ = request.id();
      }
      return jobs_.Watch(kQuantization, request.id(), self);
    });
    if (status.ok()) return OnJobChanged();
    End(MakeEnd([&] { return EndCallAndLog(context, MethodOf(request), status); }));
  }

  void OnJobChanged() override {
    {
      engine::MutexLock lock(mutex_);
      changed_ = true;
    }
    Pump();
  }

 private:
  absl::StatusOr<Step> Next(grpc::ByteBuffer& message) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return Step::kEnd;
    if (!std::exchange(changed_, false)) return Step::kWait;
    ASSIGN_OR_RETURN(const Job job, jobs_.Get(kQuantization, id_));
    ended_ = HasEnded(job.state);
    // From here on the client has limited time to read the rest.
    if (ended_) end_timeout_.Start(patience_);
    v1::WatchQuantizationResponse response;
    *response.mutable_quantization() = ToQuantization(job);
    message = SerializeMessage(response);
    return Step::kWrite;
  }

  void OnEnd() override { end_timeout_.Stop(); }

  JobQueue& jobs_;
  const std::chrono::milliseconds patience_;
  EndTimeout end_timeout_;
  std::string id_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;  // since the last message
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;    // the last message tells of the end
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartQuantizationWatch(
    JobQueue& jobs, std::chrono::milliseconds end_timeout, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer& request) {
  const auto watch = std::make_shared<Watch>(jobs, context, end_timeout);
  watch->Begin(watch, context, request);
  return watch.get();
}

}  // namespace whipsnake::server
