// Listens to all jobs, for metrics.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_OBSERVER_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_OBSERVER_H_

#include <optional>

#include "server/jobs/job.h"

namespace whipsnake::server {

// Called with a lock of the queue held: must be quick and must not call the queue.
class JobObserver {
 public:
  virtual ~JobObserver() = default;
  virtual void OnState(const Job& /*job*/, std::optional<JobState> /*before*/) {}
  virtual void OnEvent(const Job& /*job*/, const JobEvent& /*event*/) {}
  virtual void OnDeleted(const Job& /*job*/) {}
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_OBSERVER_H_
