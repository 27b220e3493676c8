// A preparation or a run of a job, as its kind sees it.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_ATTEMPT_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_ATTEMPT_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/memory.h"
#include "server/jobs/job_journal.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/job_table.h"

namespace whipsnake::server {

// Thread-safe.
class JobAttempt final : public JobRun {
 public:
  // `stop`: of JobTable::BeginAttempt. `ledger`: see JobRun::ledger. All must outlive the attempt.
  JobAttempt(JobTable& table, JobJournal& journal, const JobEntryPtr& entry,
             const StopRequest& stop, engine::Ledger& ledger)
      : table_(table), journal_(journal), entry_(entry), stop_(stop), ledger_(ledger) {}

  absl::Status CheckStop() const override;
  engine::Ledger& ledger() override { return ledger_; }
  void Report(JobProgress progress) override;
  void AddEvent(EventLevel level, std::string_view type, nlohmann::json values) override;
  absl::Status Commit(std::vector<Write> writes) override;

 private:
  JobTable& table_;
  JobJournal& journal_;
  const JobEntryPtr entry_;
  const StopRequest& stop_;
  engine::Ledger& ledger_;
};

// The bytes that a job may have beside the loaded models. 0: there is no limit.
int64_t BytesForJobs(const engine::Ledger& ledger);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_ATTEMPT_H_
