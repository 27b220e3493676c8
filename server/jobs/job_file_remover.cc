#include "server/jobs/job_file_remover.h"

#include "engine/base/exceptions.h"

namespace whipsnake::server {

JobFileRemover::JobFileRemover()
    : pool_({.name = "job files",
             .threads = 1,
             .max_waiting = kMaxWaiting,
             .low_priority = true,
             .purpose = "for the removal of files",
             .full_reason = "REMOVALS_FULL"}) {}

void JobFileRemover::Remove(JobKind& kind, const std::string& uid) {
  const auto remove = [this, &kind, uid] {
    if (!closed_) kind.RemoveFiles(uid);
  };
  // Each job counts as a client of its own: there are no shares.
  const absl::Status waits = engine::CatchExceptions([&] { return pool_.Run(uid, remove); });
  if (!waits.ok()) remove();
}

}  // namespace whipsnake::server
