// The histories of the jobs that pages look at.
#ifndef WHIPSNAKE_SERVER_CONSOLE_JOB_HISTORIES_H_
#define WHIPSNAKE_SERVER_CONSOLE_JOB_HISTORIES_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/console/job_history.h"
#include "server/jobs/job_queue.h"
#include "server/work/disk_queue.h"

namespace whipsnake::server {

// Keeps the histories of a few jobs, the least recently wanted is dropped. Each is brought up to
// date when it is wanted: with events from memory, or, if those are gone from memory, with a
// bounded number of them that the disk queue's thread reads. Thread-safe.
class JobHistories {
 public:
  static constexpr size_t kMaxJobs = 8;
  // Of one read from the disk, and of one reply from memory.
  static constexpr int kEventsAtOnce = 2000;

  // Both must outlive this object, and `jobs` must outlive `disk`.
  JobHistories(JobQueue* jobs, DiskQueue* disk) : jobs_(*jobs), disk_(*disk) {}

  using Done = std::function<void(absl::StatusOr<nlohmann::json>)>;
  // Passes JobHistory::After to `done`, with `uid`, and `more`: whether there are events that are
  // not in it yet, so that the caller should ask again. `done` is called before this returns, or on
  // the disk queue's thread. NOT_FOUND if there is no such job.
  void Get(const std::string& kind, const std::string& id, HistoryMark mark, const Done& done);

 private:
  struct Entry {
    std::string uid;
    engine::Mutex mutex;
    JobHistory history ABSL_GUARDED_BY(mutex);
    bool reading ABSL_GUARDED_BY(mutex) = false;  // from the disk
  };
  using EntryPtr = std::shared_ptr<Entry>;

  EntryPtr FindOrAdd(const std::string& uid);
  // Adds events from memory. Returns false if those that follow are not there.
  absl::StatusOr<bool> CatchUp(const Job& job, Entry& entry, bool& more);
  // Adds events from the disk. Uses nothing else of this object, which may be gone by then.
  static absl::Status Read(const JobQueue& jobs, const Job& job, Entry& entry, bool& more);

  JobQueue& jobs_;
  DiskQueue& disk_;
  engine::Mutex mutex_;
  std::list<EntryPtr> entries_ ABSL_GUARDED_BY(mutex_);  // the latest first
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONSOLE_JOB_HISTORIES_H_
