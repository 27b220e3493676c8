#include "server/jobs/job_dispatcher.h"

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/exceptions.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/base/thread_priority.h"
#include "server/guarded.h"
#include "server/jobs/job_attempt.h"
#include "server/jobs/job_transitions.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

}  // namespace

JobDispatcher::JobDispatcher(JobTable* table, JobJournal* journal, const JobKinds* kinds,
                             engine::Ledger* ledger, const JobQueueOptions* options)
    : table_(*table),
      journal_(*journal),
      kinds_(*kinds),
      ledger_(*ledger),
      options_(*options),
      // A thread whose job has ended may still have a moment to live.
      runs_(std::make_unique<Background>(2 * options->max_running)) {}

void JobDispatcher::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void JobDispatcher::Join() {
  if (thread_.joinable()) thread_.join();
  runs_.reset();
}

void JobDispatcher::Loop() {
  auto next_flush = steady_clock::now() + options_.flush_interval;
  auto next_beat = steady_clock::now();
  while (table_.WaitForChange(next_flush)) {
    RunGuarded("jobs", [&] { StartJobs(); });
    const auto now = steady_clock::now();
    if (now >= next_flush) {
      next_flush = now + options_.flush_interval;
      RunGuarded("jobs", [&] { LogJournalError(journal_.SettleEvents()); });
    }
    if (now >= next_beat) {
      next_beat = now + options_.heartbeat_interval;
      RunGuarded("jobs", [&] { journal_.Beat(); });
    }
  }
}

// Starting.

// A job that waits for memory keeps it from those after it. One that waits for its next attempt,
// or for another job of its kind, does not.
void JobDispatcher::StartJobs() {
  if (table_.closed()) return;
  bool blocked = false;
  int before = 0;
  for (const JobEntryPtr& entry : table_.Queued()) {
    ++before;
    if (blocked) {
      SetWaitsFor(entry,
                  before == 2 ? "1 job before it" : absl::StrCat(before - 1, " jobs before it"));
      continue;
    }
    Outcome outcome = TryStart(entry);
    if (outcome.waits_for.empty()) --before;
    blocked = outcome.holds_up;
    SetWaitsFor(entry, std::move(outcome.waits_for));
  }
}

JobDispatcher::Outcome JobDispatcher::TryStart(const JobEntryPtr& entry) {
  const Job job = table_.Read(entry);
  if (job.state != JobState::kQueued) return {};
  if (Outcome outcome = CheckTurn(job); !outcome.waits_for.empty()) return outcome;
  absl::StatusOr<engine::Reservation> memory = Reserve(job);
  if (!memory.ok()) {
    return {.waits_for = absl::StrCat(engine::HumanBytes(job.bytes),
                                      " of memory: ", engine::HumanBytes(ledger_.used()), " of ",
                                      engine::HumanBytes(ledger_.limit()), " are in use"),
            .holds_up = true};
  }
  // Made before the job is recorded as running: what fails after that must end the attempt.
  const auto admitted = std::make_shared<Admitted>(Admitted{
      .entry = entry, .stop = std::make_shared<StopRequest>(), .memory = *std::move(memory)});
  const absl::Status started =
      journal_.Apply(entry, [this](Job& changed) { return BeginRun(changed, options_.clock()); })
          .status();
  // It is no longer queued, or has been deleted.
  if (absl::IsFailedPrecondition(started) || absl::IsNotFound(started)) return {};
  if (!started.ok()) return {.waits_for = "the server's disk", .holds_up = true};
  table_.BeginAttempt(entry, admitted->stop);
  Launch(admitted);
  return {};
}

JobDispatcher::Outcome JobDispatcher::CheckTurn(const Job& job) const {
  if (job.next_attempt_time && *job.next_attempt_time > options_.clock()) {
    return {.waits_for = "the time of its next attempt"};
  }
  const JobKind& kind = kinds_.Of(job);
  if (table_.CountRunning(kind.name()) >= kind.max_running()) {
    return {.waits_for = absl::StrCat("another ", engine::ToAbsl(kind.name()), " job that runs")};
  }
  if (const int running = table_.CountRunning(); running >= options_.max_running) {
    return {.waits_for = absl::StrCat("a free place: ", running, " jobs run, which is the limit"),
            .holds_up = true};
  }
  if (ledger_.limit() > 0 && job.bytes > BytesForJobs(ledger_)) {
    return {.waits_for = absl::StrCat(engine::HumanBytes(job.bytes),
                                      " of memory, which is more than there is beside the models")};
  }
  return {};
}

// What is in the way of a reservation is asked to make room, so it is only tried if there can be.
absl::StatusOr<engine::Reservation> JobDispatcher::Reserve(const Job& job) const {
  const int64_t free = BytesForJobs(ledger_) - ledger_.used(engine::Purpose::kJobs);
  if (ledger_.limit() > 0 && job.bytes > free) return absl::ResourceExhaustedError("");
  return ledger_.Reserve(job.bytes, engine::Purpose::kJobs, absl::StrCat("job ", job.id));
}

void JobDispatcher::SetWaitsFor(const JobEntryPtr& entry, std::string text) {
  if (table_.SetWaitsFor(entry, std::move(text))) entry->watchers().Notify();
}

// Running.

void JobDispatcher::Launch(const std::shared_ptr<Admitted>& admitted) {
  const absl::Status launched = engine::CatchExceptions([&] {
    return runs_->Run(
        [this, admitted] {
          const absl::StatusOr<json> result = Run(*admitted);
          admitted->memory = engine::Reservation();  // before others see that the job has ended
          End(*admitted, result);
          return absl::OkStatus();
        },
        [this, admitted](const absl::Status& status) {
          if (!status.ok()) End(*admitted, status);  // an exception, for lack of memory
        });
  });
  if (launched.ok()) return;
  admitted->memory = engine::Reservation();
  End(*admitted, launched);
}

absl::StatusOr<json> JobDispatcher::Run(const Admitted& admitted) {
  engine::LowerThreadPriority();  // below serving
  const Job job = table_.Read(admitted.entry);
  std::optional<engine::Ledger> own;
  engine::Ledger& ledger = job.bytes > 0 ? own.emplace(job.bytes) : ledger_;
  JobAttempt attempt(table_, journal_, admitted.entry, *admitted.stop, ledger);
  return engine::CatchExceptions([&] { return kinds_.Of(job).Run(job, attempt); });
}

void JobDispatcher::End(const Admitted& admitted, const absl::StatusOr<json>& result) {
  const JobEntryPtr& entry = admitted.entry;
  const bool stopped = absl::IsCancelled(result.status()) && admitted.stop->made();
  table_.EndAttempt(entry);
  journal_.ApplyUntilDurable(entry, [&](Job& job) {
    const bool temporary = kinds_.Of(job).IsTemporary(result.status());
    EndRun(job, result, stopped, options_.RetryNow(temporary));
    return absl::OkStatus();
  });
  journal_.EndBeat(entry);  // after the change: jobs that run have one written
}

}  // namespace whipsnake::server
