#include "server/jobs/job_preparer.h"

#include <memory>

#include "engine/base/exceptions.h"
#include "engine/base/thread_priority.h"
#include "server/guarded.h"
#include "server/jobs/job_attempt.h"
#include "server/jobs/job_transitions.h"

namespace whipsnake::server {

void JobPreparer::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void JobPreparer::Join() {
  if (thread_.joinable()) thread_.join();
}

void JobPreparer::Loop() {
  engine::LowerThreadPriority();  // below serving
  while (const JobEntryPtr entry =
             table_.WaitForUnprepared(options_.clock, options_.flush_interval)) {
    RunGuarded("jobs", [&] { Prepare(entry); });
  }
}

void JobPreparer::Prepare(const JobEntryPtr& entry) {
  const auto stop = std::make_shared<StopRequest>();
  if (!table_.BeginAttempt(entry, stop)) return;
  const Job job = table_.Read(entry);
  JobKind& kind = kinds_.Of(job);
  engine::Ledger ledger(BytesForJobs(ledger_), &ledger_, engine::Purpose::kJobs);
  JobAttempt attempt(table_, journal_, entry, *stop, ledger);
  Preparation preparation;
  const absl::Status status =
      engine::CatchExceptions([&] { return kind.Prepare(job, attempt, preparation); });
  table_.EndAttempt(entry);
  // The job was paused or cancelled, or the server stops.
  if (absl::IsCancelled(status)) return;
  journal_.ApplyUntilDurable(entry, [&](Job& changed) {
    EndPreparation(changed, preparation, status, options_.RetryNow(kind.IsTemporary(status)));
    return absl::OkStatus();
  });
}

}  // namespace whipsnake::server
