// A server stream that tells of a job.
#ifndef WHIPSNAKE_SERVER_RPC_JOB_STREAM_H_
#define WHIPSNAKE_SERVER_RPC_JOB_STREAM_H_

#include <grpcpp/server_context.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "server/jobs/job_queue.h"
#include "server/rpc/end_timeout.h"
#include "server/rpc/latest_stream.h"
#include "server/rpc/unread_timeout.h"

namespace whipsnake::server {

// Calls Next after every change of the job. Once the job has ended, the client has `end_timeout` to
// read each of the messages that are left. The queue holds a weak reference, and a strong one while
// it notifies, because gRPC may be done with this object during a notification.
class JobStream : public LatestStream, public JobWatcher {
 public:
  void OnJobChanged() final;

 protected:
  JobStream(JobQueue& jobs, std::string_view kind, std::chrono::milliseconds end_timeout,
            grpc::CallbackServerContext* context);

  // Begins to watch the job whose id `read_request` returns. Its errors, and those of
  // JobQueue::Watch, end the call.
  void Watch(const std::shared_ptr<JobStream>& self,
             absl::FunctionRef<absl::StatusOr<std::string>()> read_request);

  const grpc::CallbackServerContext* context() const { return context_; }

  JobQueue& jobs_;
  const std::string_view kind_;
  std::string id_ ABSL_GUARDED_BY(mutex_);

 private:
  void OnWriting() final ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { unread_.OnWriting(); }
  void OnWritten() final ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { unread_.OnWritten(); }
  void OnEnd() final;

  grpc::CallbackServerContext* const context_;
  EndTimeout end_timeout_ ABSL_GUARDED_BY(mutex_);
  UnreadTimeout unread_ ABSL_GUARDED_BY(mutex_);
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // whether the call has ended
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_JOB_STREAM_H_
