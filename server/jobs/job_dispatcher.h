// Starts the jobs that are ready, and runs them.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_DISPATCHER_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_DISPATCHER_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "server/jobs/job_journal.h"
#include "server/jobs/job_kinds.h"
#include "server/jobs/job_queue_options.h"
#include "server/jobs/job_table.h"
#include "server/work/background.h"

namespace whipsnake::server {

// One thread decides, in the order of the queue, which jobs start, and has events and heartbeats
// written in their intervals. Each job runs on a thread of its own.
class JobDispatcher {
 public:
  // All must outlive the dispatcher.
  JobDispatcher(JobTable* table, JobJournal* journal, const JobKinds* kinds, engine::Ledger* ledger,
                const JobQueueOptions* options);

  void Start();
  // Waits, once the table has stopped, until nothing runs.
  void Join();

 private:
  // What comes of a try to start a job.
  struct Outcome {
    std::string waits_for = {};  // "" if it has started, or is not queued any more
    bool holds_up = false;       // those after it wait too
  };
  // An attempt that has been admitted.
  struct Admitted {
    JobEntryPtr entry;
    std::shared_ptr<StopRequest> stop;
    engine::Reservation memory;
  };

  void Loop();
  // Starts the jobs that may run now, and says of the others what they wait for.
  void StartJobs();
  Outcome TryStart(const JobEntryPtr& entry);
  // What speaks against a start, but for memory.
  Outcome CheckTurn(const Job& job) const;
  absl::StatusOr<engine::Reservation> Reserve(const Job& job) const;
  void Launch(const std::shared_ptr<Admitted>& admitted);
  absl::StatusOr<nlohmann::json> Run(const Admitted& admitted);
  void End(const Admitted& admitted, const absl::StatusOr<nlohmann::json>& result);
  void SetWaitsFor(const JobEntryPtr& entry, std::string text);

  JobTable& table_;
  JobJournal& journal_;
  const JobKinds& kinds_;
  engine::Ledger& ledger_;
  const JobQueueOptions& options_;
  std::thread thread_;
  std::unique_ptr<Background> runs_;  // null once joined
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_DISPATCHER_H_
