// The thread that prepares new jobs.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_PREPARER_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_PREPARER_H_

#include <thread>

#include "engine/base/memory.h"
#include "server/jobs/job_journal.h"
#include "server/jobs/job_kinds.h"
#include "server/jobs/job_queue_options.h"
#include "server/jobs/job_table.h"

namespace whipsnake::server {

// Prepares one job after another, the oldest first, until the table is closed.
class JobPreparer {
 public:
  // All must outlive the preparer.
  JobPreparer(JobTable* table, JobJournal* journal, const JobKinds* kinds, engine::Ledger* ledger,
              const JobQueueOptions* options)
      : table_(*table), journal_(*journal), kinds_(*kinds), ledger_(*ledger), options_(*options) {}

  void Start();
  // Waits for the end of the thread, if there is one.
  void Join();

 private:
  void Loop();
  void Prepare(const JobEntryPtr& entry);

  JobTable& table_;
  JobJournal& journal_;
  const JobKinds& kinds_;
  engine::Ledger& ledger_;
  const JobQueueOptions& options_;
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_PREPARER_H_
