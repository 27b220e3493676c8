// Removes the files of deleted jobs.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_FILE_REMOVER_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_FILE_REMOVER_H_

#include <atomic>
#include <string>

#include "server/jobs/job_kind.h"
#include "server/work/task_pool.h"

namespace whipsnake::server {

// A large job has gigabytes of files, whose removal may take seconds, so a thread of low priority
// removes them, and no call waits for that. What is left when the server ends is removed by
// JobKind::Sweep at the next start. Thread-safe.
class JobFileRemover {
 public:
  // The most jobs whose files wait to be removed.
  static constexpr size_t kMaxWaiting = 64;

  JobFileRemover();
  // Waits for the removal that is under way.
  ~JobFileRemover() { Close(); }

  // To be called once the job's record is gone. If too many wait, removes the files on this thread,
  // so that jobs are not deleted faster than their files. `kind` must outlive this object.
  void Remove(JobKind& kind, const std::string& uid);
  // Removes nothing more.
  void Close() { closed_ = true; }

 private:
  std::atomic<bool> closed_ = false;
  TaskPool pool_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_FILE_REMOVER_H_
