#include "server/rpc/job_stream.h"

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/guarded.h"
#include "server/rpc/make_end.h"

namespace whipsnake::server {

// The functions are called with the lock held.
JobStream::JobStream(JobQueue& jobs, std::string_view kind, std::chrono::milliseconds end_timeout,
                     grpc::CallbackServerContext* context)
    : jobs_(jobs),
      kind_(kind),
      context_(context),
      end_timeout_(context),
      unread_([this, end_timeout]()
                  ABSL_NO_THREAD_SAFETY_ANALYSIS { end_timeout_.Start(end_timeout); },
              [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { end_timeout_.CallOff(); }) {}

void JobStream::Watch(const std::shared_ptr<JobStream>& self,
                      absl::FunctionRef<absl::StatusOr<std::string>()> read_request) {
  KeepAlive(self);
  const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::string id, read_request());
    {
      engine::MutexLock lock(mutex_);
      id_ = id;
    }
    return jobs_.Watch(kind_, id, self);
  });
  if (status.ok()) return OnJobChanged();
  End(MakeEnd([&] { return ToGrpc(status); }));
}

void JobStream::OnJobChanged() {
  RunGuarded("jobs", [&] {
    engine::MutexLock lock(mutex_);
    const auto job = jobs_.Get(kind_, id_);
    const bool has_ended = !job.ok() || HasEnded(job->state);
    if (has_ended && !over_) unread_.OnEnded();
  });
  Pump();
}

void JobStream::OnEnd() {
  engine::MutexLock lock(mutex_);
  over_ = true;
  end_timeout_.Stop();
}

}  // namespace whipsnake::server
