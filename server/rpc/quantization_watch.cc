#include "server/rpc/quantization_watch.h"

#include <memory>
#include <string>
#include <utility>

#include "engine/base/status.h"
#include "server/jobs/quantization_kind.h"
#include "server/rpc/job_stream.h"
#include "server/rpc/messages.h"
#include "server/rpc/quantization_messages.h"

namespace whipsnake::server {
namespace {

class QuantizationWatch final : public JobStream {
 public:
  QuantizationWatch(JobQueue& jobs, grpc::CallbackServerContext* context,
                    std::chrono::milliseconds end_timeout)
      : JobStream(jobs, kQuantization, end_timeout, context) {}

  void Begin(const std::shared_ptr<QuantizationWatch>& self, const grpc::ByteBuffer& bytes) {
    Watch(self, [&]() -> absl::StatusOr<std::string> {
      v1::WatchQuantizationRequest request;
      RETURN_IF_ERROR(ReceiveRequest(context(), bytes, &request));
      return request.id();
    });
  }

 private:
  absl::StatusOr<Step> Next(grpc::ByteBuffer& message) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return Step::kEnd;
    ASSIGN_OR_RETURN(const Job job, jobs_.Get(kQuantization, id_));
    v1::WatchQuantizationResponse response;
    *response.mutable_quantization() = ToQuantization(job);
    std::string now = response.SerializeAsString();
    if (now == written_) return Step::kWait;
    ended_ = HasEnded(job.state);
    written_ = std::move(now);
    message = SerializeMessage(response);
    return Step::kWrite;
  }

  std::string written_ ABSL_GUARDED_BY(mutex_);  // the last message
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;   // it tells of the end
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartQuantizationWatch(
    JobQueue& jobs, std::chrono::milliseconds end_timeout, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer& request) {
  const auto watch = std::make_shared<QuantizationWatch>(jobs, context, end_timeout);
  watch->Begin(watch, request);
  return watch.get();
}

}  // namespace whipsnake::server
