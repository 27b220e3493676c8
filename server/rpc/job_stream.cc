#include "server/rpc/job_stream.h"

#include <utility>

#include "server/guarded.h"

namespace whipsnake::server {

absl::Status JobStream::WatchJob(const std::shared_ptr<JobStream>& self, const std::string& id) {
  {
    engine::MutexLock lock(mutex_);
    id_ = id;
  }
  return jobs_.Watch(kind_, id, self);
}

void JobStream::OnJobChanged() {
  RunGuarded("jobs", [&] {
    engine::MutexLock lock(mutex_);
    const auto job = jobs_.Get(kind_, id_);
    const bool has_ended = !job.ok() || HasEnded(job->state);
    if (has_ended && !over_ && !std::exchange(timing_, true)) end_timeout_.Start(patience_);
  });
  Pump();
}

void JobStream::OnEnd() {
  engine::MutexLock lock(mutex_);
  over_ = true;
  end_timeout_.Stop();
}

}  // namespace whipsnake::server
