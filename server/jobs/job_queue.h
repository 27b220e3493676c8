// The queue of jobs: durable, in the order of priority, as many at a time as memory allows.
//
// Each change of a job's state is one transaction of the store: the job's record and the event that
// tells of it. A job that is found running when the queue opens was interrupted by a crash, and is
// queued again; its kind continues after what earlier attempts have made durable.
//
// An attempt that fails for lack of memory or disk, or with a crash, is followed by another one
// after a time that doubles, until kMaxFailures have failed in a row without a commit of the work.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "server/jobs/job.h"
#include "server/jobs/job_kind.h"
#include "server/rpc/background.h"
#include "server/store/store.h"

namespace whipsnake::server {

struct JobQueueOptions {
  int max_running = 4;    // of all kinds
  int max_jobs = 10'000;  // with those that have ended
  // From an event to its being durable, and from one heartbeat to the next.
  std::chrono::milliseconds flush_interval{500}, heartbeat_interval{5000};
  // Whether the store survives the process. If it does not, jobs are cancelled when the queue
  // closes.
  bool durable = true;
  // Before the second attempt after a failure; doubles with each failure.
  std::chrono::milliseconds first_backoff{10'000}, longest_backoff{600'000};
  std::function<WallTime()> clock = [] { return std::chrono::system_clock::now(); };
};

// What a client gives of a new job.
struct NewJob {
  std::string kind;
  std::string id;  // "": the queue makes one
  std::map<std::string, std::string> labels = {};
  int32_t priority = 0;
  nlohmann::json request = {};
};

class JobWatcher {
 public:
  virtual ~JobWatcher() = default;
  // There are new events, or the job has changed. Called on any thread, with no lock held.
  virtual void OnJobChanged() = 0;
};

// Listens to all jobs, for metrics. Called with a lock of the queue held: must be quick and must
// not call the queue.
class JobObserver {
 public:
  virtual ~JobObserver() = default;
  virtual void OnState(const Job& /*job*/, std::optional<JobState> /*before*/) {}
  virtual void OnEvent(const Job& /*job*/, const JobEvent& /*event*/) {}
  virtual void OnDeleted(const Job& /*job*/) {}
};

// A part of a job's events.
struct JobEvents {
  std::vector<JobEvent> events;
  bool more = false;       // whether there are events after these, now
  bool has_ended = false;  // the job has: unless it is resumed, there will be no others
  bool closed = false;     // the queue is closed, and the job does not run: there will be no others
};

// Thread-safe. Functions that change a job wait for the disk; the others do not, unless they say
// so.
class JobQueue {
 public:
  static constexpr int kMaxFailures = 5;
  static constexpr size_t kMaxWatchers = 512;    // of a job
  static constexpr size_t kRecentEvents = 1024;  // of a job, in memory

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
  // In the order of creation.
  std::vector<Job> List(std::string_view kind) const;
  // At most `limit` jobs of all kinds: those that have not ended, the oldest first, then those that
  // have, the newest first.
  std::vector<Job> Latest(size_t limit) const;

  // See CancelFineTuningJob, ... in proto/whipsnake/v1/fine_tuning.proto. `etag` may be "". ABORTED
  // if it is not the job's; FAILED_PRECONDITION if the state does not allow the change.
  absl::StatusOr<Job> Cancel(std::string_view kind, std::string_view id, std::string_view etag);
  absl::StatusOr<Job> Pause(std::string_view kind, std::string_view id, std::string_view etag);
  absl::StatusOr<Job> Resume(std::string_view kind, std::string_view id, std::string_view etag);
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

  // The bytes that a job may have beside the loaded models.
  int64_t available_bytes() const;
  engine::Ledger* ledger() const { return ledger_; }

  // Refuses new jobs, and asks the running ones to stop. They are queued again, for the next start,
  // or cancelled if there is none. May wait for the disk, but not for the jobs.
  void Close();
  // Closes, and returns once nothing runs.
  void Stop();

 private:
  struct Entry;
  class Run;
  using EntryPtr = std::shared_ptr<Entry>;
  // Changes a job, but not its progress.
  using Change = absl::FunctionRef<absl::Status(Job&)>;

  JobQueue(Store* store, engine::Ledger* ledger, std::vector<std::unique_ptr<JobKind>> kinds,
           JobObserver* observer, JobQueueOptions options);

  absl::Status Load();
  // Adds the jobs of a page of records. Returns whether all were valid.
  bool AddEntries(const std::vector<Record>& page, std::vector<EntryPtr>& entries) const;
  // Queues a job again that was running, and ends changes that were under way.
  absl::Status Recover(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);

  absl::StatusOr<EntryPtr> Find(std::string_view kind, std::string_view id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  JobKind* FindKind(std::string_view name) const;  // or null
  JobKind& KindOf(const Job& job) const { return *FindKind(job.kind); }
  // The job with its position and what it waits for.
  Job Snapshot(const Entry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sets the positions of those that are queued, and what they wait for.
  void SetPositions(std::vector<Job>& list) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<EntryPtr> QueuedInOrder() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What speaks against one more job of this kind.
  absl::Status CheckRoom(const JobKind& kind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string NewId(const JobKind& kind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Finds the job, checks the etag, changes the job as Apply does, and makes a run that is under
  // way end for that reason.
  absl::StatusOr<Job> Update(std::string_view kind, std::string_view id, std::string_view etag,
                             StopRequest stop, Change change);
  // Applies `change` to a copy of the job, commits it with `writes` and the events that wait, and
  // publishes it. Changes nothing if `change` or the commit returns an error.
  absl::StatusOr<Job> Apply(const EntryPtr& entry, Change change, std::vector<Write> writes = {})
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  // Commits writes. Returns the store's error as clients may see it.
  absl::StatusOr<Committed> Commit(const std::vector<Write>& writes);
  // Publishes a change that has been committed.
  Job Show(const EntryPtr& entry, Job job, JobState before, std::vector<JobEvent> events,
           size_t waited);
  void CancelForStop(const EntryPtr& entry);
  // Applies a change that must not be lost: tries again until it is committed or the queue stops.
  void ApplySurely(const EntryPtr& entry, Change change);
  // Commits the events of all jobs that wait to be durable.
  absl::Status FlushEvents();
  // Shows events that are durable. The first `waited` were in entry.waiting.
  void Publish(Entry& entry, std::vector<JobEvent> events, size_t waited)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyWatchers(const EntryPtr& entry);
  absl::Status Erase(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);

  void PrepareLoop();
  EntryPtr NextToPrepare() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Prepare(const EntryPtr& entry);
  void DispatchLoop();
  // Starts the jobs that may run now, and says of the others what they wait for.
  void StartJobs();
  // Returns what the job waits for, or "" if it has started. `holds_up`: those after it wait too.
  std::string TryStart(const EntryPtr& entry, bool& holds_up);
  void Launch(const EntryPtr& entry, engine::Reservation reservation);
  int RunningOf(const JobKind& kind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetWaitsFor(const EntryPtr& entry, std::string text);
  void SendHeartbeats();
  // Deletes the oldest of a kind that keeps few.
  void ForgetOldest(const JobKind& kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  absl::StatusOr<nlohmann::json> RunJob(const EntryPtr& entry);
  void EndRun(const EntryPtr& entry, const absl::StatusOr<nlohmann::json>& result);
  // Readies a job that failed for its next attempt, or ends it.
  void RetryOrFail(Job& job, const absl::Status& status) const;

  Store* const store_;
  engine::Ledger* const ledger_;
  const std::vector<std::unique_ptr<JobKind>> kinds_;
  JobObserver* const observer_;
  const JobQueueOptions options_;

  // Held while a change is made and committed, so changes follow one another. Taken before mutex_,
  // which guards what is in memory and is never held while the disk works.
  engine::Mutex commit_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable engine::Mutex mutex_;
  engine::CondVar wake_;                                                       // for the loops
  std::map<std::string, EntryPtr, std::less<>> jobs_ ABSL_GUARDED_BY(mutex_);  // by key
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;                               // for the dispatcher
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  engine::Mutex stop_mutex_;  // guards joining
  std::thread preparer_, dispatcher_;
  std::unique_ptr<Background> runs_;  // the threads of running jobs; null once stopped
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_H_
