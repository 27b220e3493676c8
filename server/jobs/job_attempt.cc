#include "server/jobs/job_attempt.h"

#include <algorithm>
#include <utility>

namespace whipsnake::server {

absl::Status JobAttempt::CheckStop() const {
  return stop_.made() ? absl::CancelledError("the job has to stop") : absl::OkStatus();
}

void JobAttempt::Report(JobProgress progress) {
  table_.SetProgress(entry_, std::move(progress));
  entry_->watchers().Notify();
}

void JobAttempt::AddEvent(EventLevel level, std::string_view type, nlohmann::json values) {
  table_.AddEvent(entry_, level, type, std::move(values));
}

absl::Status JobAttempt::Commit(std::vector<Write> writes) {
  return journal_.CommitProgress(entry_, std::move(writes));
}

int64_t BytesForJobs(const engine::Ledger& ledger) {
  if (ledger.limit() == 0) return 0;
  const int64_t taken =
      ledger.used(engine::Purpose::kWeights) + ledger.used(engine::Purpose::kWorkspace);
  return std::max<int64_t>(ledger.limit() - taken, 1);
}

}  // namespace whipsnake::server
