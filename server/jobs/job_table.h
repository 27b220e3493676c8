// The jobs in memory.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_TABLE_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_TABLE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/jobs/job.h"
#include "server/jobs/job_events.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/job_observer.h"
#include "server/jobs/job_selection.h"
#include "server/jobs/job_watchers.h"

namespace whipsnake::server {

// Asks an attempt to stop. Thread-safe.
class StopRequest {
 public:
  void Make() { made_ = true; }
  bool made() const { return made_; }

 private:
  std::atomic<bool> made_ = false;
};

// A job of the table. What changes of it is the table's, and read and changed through it.
class JobEntry {
 public:
  explicit JobEntry(Job job)
      : key_(JobKey(job.kind, job.id)), uid_(job.uid), job_(std::move(job)) {}

  const std::string& key() const { return key_; }
  const std::string& uid() const { return uid_; }
  JobWatchers& watchers() { return watchers_; }

 private:
  friend class JobTable;

  const std::string key_, uid_;
  JobWatchers watchers_;

  // Guarded by the table's mutex.
  Job job_;              // as it is committed, with the latest progress and its place
  bool erased_ = false;  // its key may be that of another job by now
  JobEventBuffer events_;
  std::shared_ptr<StopRequest> stop_;  // of the attempt that is under way, or null
};
using JobEntryPtr = std::shared_ptr<JobEntry>;

// Thread-safe. Nothing here waits for the disk. Lists and counts go over the jobs that have not
// ended where that is possible: the others may be many.
class JobTable {
 public:
  // `observer` may be null, and must outlive the table.
  JobTable(JobObserver* observer, int max_jobs) : observer_(observer), max_jobs_(max_jobs) {}
  JobTable(const JobTable&) = delete;
  JobTable& operator=(const JobTable&) = delete;

  // NOT_FOUND.
  absl::StatusOr<JobEntryPtr> Find(std::string_view kind, std::string_view id) const;
  absl::StatusOr<Job> Get(std::string_view kind, std::string_view id) const;
  Job Read(const JobEntryPtr& entry) const;
  // Those of a kind, or of all, that are selected.
  std::vector<Job> List(std::optional<std::string_view> kind, const JobSelection& selection) const;
  bool AnyUnfinished(absl::FunctionRef<bool(const Job&)> predicate) const;
  std::vector<JobEntryPtr> Unfinished() const;
  // Those that wait to run, in the order of the queue.
  std::vector<JobEntryPtr> Queued() const;
  std::vector<Job> Running() const;
  // Those of a kind that have ended but the last `keep`, the first that ended first.
  std::vector<JobEntryPtr> EndedBefore(std::string_view kind, int keep) const;
  int CountRunning() const;
  int CountRunning(std::string_view kind) const;

  // NOT_FOUND; RESOURCE_EXHAUSTED if there are too many.
  absl::Status Watch(std::string_view kind, std::string_view id,
                     const std::shared_ptr<JobWatcher>& watcher);

  // Events. The last durable ones of a job, and what is known of those that follow.
  struct RecentEvents {
    JobEvents page;      // without events unless `complete`
    bool complete;       // whether the events that were asked for are in memory
    std::string stream;  // of the store, which has all
  };
  absl::StatusOr<RecentEvents> Recent(std::string_view kind, std::string_view id, int64_t after,
                                      int limit) const;
  struct WaitingEvents {
    JobEntryPtr entry;
    std::vector<JobEvent> events;
  };
  std::vector<WaitingEvents> Waiting() const;

  // Attempts. Returns false if the job's state is not one to work in any more.
  bool BeginAttempt(const JobEntryPtr& entry, const std::shared_ptr<StopRequest>& stop);
  void EndAttempt(const JobEntryPtr& entry);
  void SetProgress(const JobEntryPtr& entry, JobProgress progress);
  // Adds an event that waits to be durable.
  void AddEvent(const JobEntryPtr& entry, EventLevel level, std::string_view type,
                nlohmann::json values);
  // Says what a queued job waits for. Returns whether that has changed.
  bool SetWaitsFor(const JobEntryPtr& entry, std::string text);

  // Changes, which only the journal makes, one at a time.

  // Whether a new job may be added. Returns the job that has the id and the same settings, or gives
  // the new one an id and returns nullopt. ALREADY_EXISTS; RESOURCE_EXHAUSTED; UNAVAILABLE.
  absl::StatusOr<std::optional<Job>> Admit(Job& job, const JobKind& kind) const;
  Job InsertNew(Job job, JobEvent event);
  JobEntryPtr InsertStored(Job job);
  // A copy of the job to be changed, and the events that wait. NOT_FOUND if it has been erased.
  struct Draft {
    Job job;
    std::vector<JobEvent> waiting;
  };
  absl::StatusOr<Draft> DraftOf(const JobEntryPtr& entry) const;
  // Shows a change that is durable, with its events, of which the first `waited` are those of the
  // draft, and asks an attempt to stop if the state says so. Returns the job.
  Job Publish(const JobEntryPtr& entry, Job job, std::vector<JobEvent> events, size_t waited);
  void PublishEvents(const JobEntryPtr& entry, std::vector<JobEvent> events);
  void Erase(const JobEntryPtr& entry);

  // The end, in two steps. Close refuses new jobs, asks attempts to stop and ends the preparer's
  // waits; returns false if that has been done. Stop ends all waits.
  bool Close();
  bool closed() const;
  void Stop();

  // Waits of the threads. Returns the oldest job that is to be prepared, once there is one, and
  // null once closed. Looks at the clock every `poll`.
  JobEntryPtr WaitForUnprepared(const std::function<WallTime()>& clock,
                                std::chrono::milliseconds poll);
  // Waits until a state has changed since the last call, but not after the deadline. Returns false
  // once stopped.
  bool WaitForChange(std::chrono::steady_clock::time_point deadline);
  // Waits so long, or until closed. Returns false, at once, if it is closed already.
  bool WaitUnlessClosed(std::chrono::milliseconds duration);

 private:
  // Priority and number, so that the first runs first.
  using Place = std::pair<int64_t, int64_t>;
  static Place PlaceOf(const Job& job) { return {-int64_t{job.priority}, job.number}; }

  absl::StatusOr<JobEntryPtr> FindLocked(std::string_view kind, std::string_view id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What speaks against one more job of this kind.
  absl::Status CheckRoom(const JobKind& kind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string NewId(const JobKind& kind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds a job, or changes the state of one, in the indexes.
  void Index(const JobEntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetPositions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellState(const JobEntryPtr& entry, std::optional<JobState> before)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SettleEvents(const JobEntryPtr& entry, std::vector<JobEvent> events, size_t waited)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  JobEntryPtr NextToPrepare(WallTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  JobObserver* const observer_;
  const int max_jobs_;

  mutable engine::Mutex mutex_;
  engine::CondVar wake_;  // for the threads that wait
  std::map<std::string, JobEntryPtr, std::less<>> jobs_ ABSL_GUARDED_BY(mutex_);  // by key
  std::map<int64_t, JobEntryPtr> unfinished_ ABSL_GUARDED_BY(mutex_);             // by number
  std::map<Place, JobEntryPtr> queued_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, JobEntryPtr> unsettled_ ABSL_GUARDED_BY(mutex_);  // with waiting events
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;                      // since WaitForChange
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_TABLE_H_
