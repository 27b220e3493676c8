// A server stream that tells of a job.
#ifndef WHIPSNAKE_SERVER_RPC_JOB_STREAM_H_
#define WHIPSNAKE_SERVER_RPC_JOB_STREAM_H_

#include <grpcpp/server_context.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/jobs/job_queue.h"
#include "server/rpc/end_timeout.h"
#include "server/rpc/latest_stream.h"

namespace whipsnake::server {

// Calls Next after every change of the job. Once the job has ended, the client has limited time to
// read the rest. The queue holds a weak reference, and a strong one while it notifies, because gRPC
// may be done with this object during a notification.
class JobStream : public LatestStream, public JobWatcher {
 public:
  void OnJobChanged() final;

 protected:
  JobStream(JobQueue& jobs, std::string_view kind, std::chrono::milliseconds end_timeout,
            grpc::CallbackServerContext* context)
      : jobs_(jobs), kind_(kind), patience_(end_timeout), end_timeout_(context) {}

  // Begins to watch. The errors of JobQueue::Watch. The caller calls Pump then.
  absl::Status WatchJob(const std::shared_ptr<JobStream>& self, const std::string& id);

  JobQueue& jobs_;
  const std::string_view kind_;
  std::string id_ ABSL_GUARDED_BY(mutex_);

 private:
  void OnEnd() final;

  const std::chrono::milliseconds patience_;
  EndTimeout end_timeout_ ABSL_GUARDED_BY(mutex_);
  bool timing_ ABSL_GUARDED_BY(mutex_) = false;  // the job has ended, and end_timeout_ runs
  bool over_ ABSL_GUARDED_BY(mutex_) = false;    // whether the call has ended
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_JOB_STREAM_H_
