// Those who watch a job.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_WATCHERS_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_WATCHERS_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/base/mutex.h"

namespace whipsnake::server {

class JobWatcher {
 public:
  virtual ~JobWatcher() = default;
  // There are new events, or the job has changed. Called on any thread, with no lock held.
  virtual void OnJobChanged() = 0;
};

// The watchers of one job, none of which it keeps alive. Thread-safe.
class JobWatchers {
 public:
  static constexpr size_t kMaxWatchers = 512;

  // Returns false if there are too many.
  bool Add(const std::shared_ptr<JobWatcher>& watcher);
  // Calls all of them, keeping each alive meanwhile. An exception of one is only logged.
  void Notify() noexcept;

 private:
  std::vector<std::shared_ptr<JobWatcher>> Living();

  engine::Mutex mutex_;
  std::vector<std::weak_ptr<JobWatcher>> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_WATCHERS_H_
