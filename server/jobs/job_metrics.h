// The metrics of jobs.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_METRICS_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_METRICS_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "server/jobs/job_observer.h"
#include "server/metrics/metrics.h"

namespace whipsnake::server {

// Called by the queue with its lock held, which also guards the counts.
class JobMetrics final : public JobObserver {
 public:
  static constexpr size_t kMaxBaseModels = 50;

  // `metrics` must outlive this object.
  explicit JobMetrics(Metrics& metrics);

  void OnState(const Job& job, std::optional<JobState> before) override;
  void OnEvent(const Job& job, const JobEvent& event) override;
  void OnDeleted(const Job& job) override;

 private:
  // Counts jobs of a kind in a state, and shows their number.
  void Count(const std::string& kind, JobState state, int change);

  void CountTransition(const Job& job, JobState before);
  // The model that a job begins with, or "other" if there have been too many different ones:
  // clients choose what a job's request says.
  std::string BaseModel(const Job& job);
  void ShowProgress(const std::string& slot);
  // Gives a job that starts the lowest free slot, and frees it when the job stops.
  void UpdateSlot(const Job& job);
  void CountEvent(const Job& job, const JobEvent& event);
  void ShowEvent(const JobEvent& event, const std::string& slot);

  Metrics& metrics_;
  std::map<std::pair<std::string, JobState>, int64_t> jobs_;
  std::map<std::string, int> slots_;  // by the uid of a running job
  std::set<std::string> base_models_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_METRICS_H_
