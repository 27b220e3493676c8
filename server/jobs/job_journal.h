// Makes changes of jobs durable, and then shows them.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_JOURNAL_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_JOURNAL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/jobs/job.h"
#include "server/jobs/job_events.h"
#include "server/jobs/job_file_remover.h"
#include "server/jobs/job_kinds.h"
#include "server/jobs/job_table.h"
#include "server/store/store.h"

namespace whipsnake::server {

// The only user of the store in the queue, and the only one that changes a job in the table, but
// for its progress. Changes follow one another, and each is one transaction: the job's record, the
// event that tells of its state, the events that wait, and what a kind adds. Watchers are notified
// of each, with no lock held.
//
// Errors of the store are returned as clients may see them (see StorageError), but for those of the
// reading at the start, which are the operator's. Thread-safe. All functions wait for the disk.
class JobJournal {
 public:
  // Changes a job, but not its progress. An error leaves the job as it is.
  using Change = absl::FunctionRef<absl::Status(Job&)>;

  // All must outlive the journal.
  JobJournal(Store* store, JobTable* table, const JobKinds* kinds, JobFileRemover* files)
      : store_(*store), table_(*table), kinds_(*kinds), files_(*files) {}

  // What is stored. A record that is not valid is logged and left out.
  struct StoredJobs {
    std::vector<Job> jobs;
    bool all_valid = true;
  };
  absl::StatusOr<StoredJobs> ReadJobs();
  // The last signs of life, by uid, of the jobs that ran when the server crashed.
  absl::StatusOr<std::map<std::string, Heartbeat>> ReadHeartbeats();
  // Adds at most `limit` events after `after` to the page.
  absl::Status ReadEvents(const std::string& stream, int64_t after, int limit, JobEvents& page);
  absl::StatusOr<std::vector<Record>> Children(const Job& job, Collection collection);

  // Makes a job. The errors of JobTable::Admit.
  absl::StatusOr<Job> Create(Job job);
  // Returns the job after the change, or the error of `change`; NOT_FOUND if it has been erased.
  absl::StatusOr<Job> Apply(const JobEntryPtr& entry, Change change);
  // Applies a change that must not be lost: tries again until it is committed or the queue closes,
  // and then leaves it to the next start, which finds the job as it was.
  void ApplyUntilDurable(const JobEntryPtr& entry, Change change);
  // Commits the writes of an attempt with all that it has reported: attempts that fail in a row are
  // counted from here.
  absl::Status CommitProgress(const JobEntryPtr& entry, std::vector<Write> writes);
  // Commits the events of all jobs that wait to be durable.
  absl::Status SettleEvents();
  // Deletes the job with all that belongs to it, if `check` agrees. Its files go later.
  absl::Status Erase(const JobEntryPtr& entry, absl::FunctionRef<absl::Status(const Job&)> check);

  // Records that the running jobs are alive and in which stage, and that one no longer is. Logs
  // errors.
  void Beat();
  void EndBeat(const JobEntryPtr& entry);

 private:
  absl::Status ReadStoredEvents(const std::string& stream, int64_t after, int limit,
                                JobEvents& page);
  absl::StatusOr<Committed> Commit(const std::vector<Write>& writes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  absl::StatusOr<Job> ApplyLocked(const JobEntryPtr& entry, Change change,
                                  std::vector<Write> writes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  absl::StatusOr<std::vector<JobTable::WaitingEvents>> SettleEventsLocked()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  absl::Status EraseLocked(const JobEntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  // Deletes the records of the oldest of a kind that keeps few, and returns those jobs.
  std::vector<JobEntryPtr> ForgetOldest(JobKind& kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  // What follows the deletion of a record: the files go, and watches end.
  void AfterErasure(const JobEntryPtr& entry, JobKind& kind);

  Store& store_;
  JobTable& table_;
  const JobKinds& kinds_;
  JobFileRemover& files_;
  // Held from the draft of a change until it is shown. Taken before the mutex of the table, which
  // is never held while the disk works.
  engine::Mutex commit_mutex_;
};

// Logs an error of the journal that nobody else is told of. The disk may work again the next time.
void LogJournalError(const absl::Status& status);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_JOURNAL_H_
