// The queue of jobs: durable, in the order of priority, as many at a time as memory allows.
//
// Each change of a job's state is one transaction of the store: the job's record and the event that
// tells of it. A job that is found running when the queue opens was interrupted by a crash, and is
// queued again; its kind continues after what earlier attempts have made durable.
//
// An attempt that fails for lack of memory or disk, or with a crash, is followed by another one
// after a time that doubles, until kMaxFailures have failed in a row without a commit of the work.
//
// The parts: job_transitions has the states, JobTable the jobs in memory, JobJournal their changes
// on the disk; JobPreparer and JobDispatcher do the work, JobFileRemover tidies up.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "server/jobs/job.h"
#include "server/jobs/job_attempt.h"
#include "server/jobs/job_dispatcher.h"
#include "server/jobs/job_events.h"
#include "server/jobs/job_file_remover.h"
#include "server/jobs/job_journal.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/job_kinds.h"
#include "server/jobs/job_observer.h"
#include "server/jobs/job_preparer.h"
#include "server/jobs/job_queue_options.h"
#include "server/jobs/job_selection.h"
#include "server/jobs/job_table.h"
#include "server/jobs/job_transitions.h"
#include "server/jobs/job_watchers.h"
#include "server/store/store.h"

namespace whipsnake::server {

// What a client gives of a new job.
struct NewJob {
  std::string kind;
  std::string id;  // "": the queue makes one
  std::map<std::string, std::string> labels = {};
  int32_t priority = 0;
  nlohmann::json request = {};
};

// Thread-safe. Functions that change a job wait for the disk; the others do not, unless they say
// so. An error of the store is one that clients may see, but for those of Open.
class JobQueue {
 public:
  static constexpr int kMaxFailures = kMaxJobFailures;
  static constexpr size_t kMaxWatchers = JobWatchers::kMaxWatchers;  // of a job
  // Of a job, in memory: while it runs, and otherwise.
  static constexpr size_t kRecentEvents = JobEventBuffer::kRecentEvents;
  static constexpr size_t kRestingEvents = JobEventBuffer::kRestingEvents;

  // Reads the jobs from the store, and returns its errors. A record that is not valid is left alone
  // and logged. Nothing runs before Start(). The store, the ledger and the observer, which may be
  // null, must outlive the queue.
  static absl::StatusOr<std::unique_ptr<JobQueue>> Open(Store* store, engine::Ledger* ledger,
                                                        std::vector<std::unique_ptr<JobKind>> kinds,
                                                        JobObserver* observer,
                                                        JobQueueOptions options = {});
  // Stops.
  ~JobQueue();
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  void Start();

  // Makes a job. If the id exists with the same request, labels and priority, returns that job.
  // ALREADY_EXISTS if it exists otherwise; RESOURCE_EXHAUSTED if there are too many jobs;
  // UNAVAILABLE once closed.
  absl::StatusOr<Job> Create(const NewJob& job);
  // NOT_FOUND if there is no such job.
  absl::StatusOr<Job> Get(std::string_view kind, std::string_view id) const;
  // All jobs of a kind, in the order of creation, or those that are selected. Copies no others.
  std::vector<Job> List(std::string_view kind, const JobSelection& selection = {}) const;
  // At most `limit` jobs of all kinds: those that have not ended, the oldest first, then those that
  // have, the newest first.
  std::vector<Job> Latest(size_t limit) const;

  // See CancelFineTuningJob, ... in proto/whipsnake/v1/fine_tuning.proto. `etag` may be "". ABORTED
  // if it is not the job's; FAILED_PRECONDITION if the state does not allow the change.
  absl::StatusOr<Job> Cancel(std::string_view kind, std::string_view id, std::string_view etag);
  absl::StatusOr<Job> Pause(std::string_view kind, std::string_view id, std::string_view etag);
  absl::StatusOr<Job> Resume(std::string_view kind, std::string_view id, std::string_view etag);
  // The record is gone when this returns, and the job's files go soon after.
  absl::Status Delete(std::string_view kind, std::string_view id, std::string_view etag);

  // Returns at most `limit` events after `after`. Reads those that are not recent from the disk.
  absl::StatusOr<JobEvents> Events(std::string_view kind, std::string_view id, int64_t after,
                                   int limit) const;
  // The same from memory alone. Returns nullopt if the events after `after` are not all there.
  absl::StatusOr<std::optional<JobEvents>> RecentEvents(std::string_view kind, std::string_view id,
                                                        int64_t after, int limit) const;
  // Notifies the watcher, from before this returns, until it is destroyed. NOT_FOUND;
  // RESOURCE_EXHAUSTED if too many watch the job.
  absl::Status Watch(std::string_view kind, std::string_view id,
                     const std::shared_ptr<JobWatcher>& watcher);
  // The records whose parent is the job: those that its kind has committed. Waits for the disk.
  absl::StatusOr<std::vector<Record>> Children(const Job& job, Collection collection) const;
  // Whether a job that has not ended satisfies the predicate.
  bool AnyUnfinished(absl::FunctionRef<bool(const Job&)> predicate) const;

  // The bytes that a job may have beside the loaded models. 0: there is no limit.
  int64_t available_bytes() const { return BytesForJobs(*ledger_); }
  engine::Ledger* ledger() const { return ledger_; }

  // Refuses new jobs, and asks the running ones to stop. They are queued again, for the next start,
  // or cancelled if there is none. May wait for the disk, but not for the jobs.
  void Close();
  // Closes, and returns once nothing runs.
  void Stop();

 private:
  JobQueue(Store* store, engine::Ledger* ledger, std::vector<std::unique_ptr<JobKind>> kinds,
           JobObserver* observer, JobQueueOptions options);

  absl::Status Load();
  // Ends what was under way when the server crashed. `crash`: the error of the attempt.
  absl::Status Recover(const JobEntryPtr& entry, const absl::Status& crash);
  // Changes the job if the etag is right.
  absl::StatusOr<Job> Update(std::string_view kind, std::string_view id, std::string_view etag,
                             JobJournal::Change change);

  engine::Ledger* const ledger_;
  const JobKinds kinds_;
  const JobQueueOptions options_;
  JobTable table_;
  JobFileRemover files_;
  mutable JobJournal journal_;
  JobPreparer preparer_;
  JobDispatcher dispatcher_;
  engine::Mutex stop_mutex_;  // guards joining
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_H_
