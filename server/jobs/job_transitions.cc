#include "server/jobs/job_transitions.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

constexpr char kServerStopped[] = "the server stopped";
constexpr char kShuttingDown[] = "the server is shutting down";

absl::Status WrongState(const Job& job, std::string_view expected) {
  return WithPrecondition(WithReason(absl::FailedPreconditionError(absl::StrCat(
                                         "job ", job.id, " is ", engine::ToAbsl(Name(job.state)),
                                         ", expected ", engine::ToAbsl(expected))),
                                     "JOB_STATE"),
                          "JOB_STATE", job.id);
}

void SetState(Job& job, JobState state, std::string reason) {
  job.state = state;
  job.reason = std::move(reason);
}

void EndJob(Job& job, JobState state, std::string reason, WallTime now) {
  SetState(job, state, std::move(reason));
  job.end_time = now;
  job.next_attempt_time.reset();
}

JobState WaitingState(const Job& job) {
  return job.prepared ? JobState::kQueued : JobState::kValidating;
}

}  // namespace

absl::Status CancelJob(Job& job, WallTime now) {
  switch (job.state) {
    case JobState::kValidating:
    case JobState::kQueued:
    case JobState::kPaused:
      EndJob(job, JobState::kCancelled, "cancelled by a client", now);
      job.error.reset();
      return absl::OkStatus();
    case JobState::kRunning:
    case JobState::kPausing:
      SetState(job, JobState::kCancelling, "cancelled by a client");
      return absl::OkStatus();
    case JobState::kCancelling:
    case JobState::kCancelled:
      return absl::OkStatus();
    case JobState::kSucceeded:
    case JobState::kFailed:
      break;
  }
  return WrongState(job, "one that has not ended");
}

absl::Status PauseJob(Job& job) {
  switch (job.state) {
    case JobState::kValidating:
    case JobState::kQueued:
      SetState(job, JobState::kPaused, "paused by a client");
      job.next_attempt_time.reset();
      return absl::OkStatus();
    case JobState::kRunning:
      SetState(job, JobState::kPausing, "paused by a client");
      return absl::OkStatus();
    case JobState::kPausing:
    case JobState::kPaused:
      return absl::OkStatus();
    default:
      return WrongState(job, "queued or running");
  }
}

absl::Status ResumeJob(Job& job) {
  switch (job.state) {
    case JobState::kFailed:
      if (!job.can_resume()) break;
      ++job.attempt;
      [[fallthrough]];
    case JobState::kPaused:
      SetState(job, WaitingState(job), "resumed by a client");
      job.failures = 0;
      job.error.reset();
      job.end_time.reset();
      job.next_attempt_time.reset();
      return absl::OkStatus();
    case JobState::kValidating:
    case JobState::kQueued:
    case JobState::kRunning:
      return absl::OkStatus();
    default:
      break;
  }
  return WrongState(job, "paused, or failed after its validation");
}

absl::Status CheckDeletable(const Job& job) {
  if (HasEnded(job.state) || job.state == JobState::kPaused) return absl::OkStatus();
  return WrongState(job, "one that is paused or has ended");
}

absl::Status CheckEtag(const Job& job, std::string_view etag) {
  if (etag.empty() || etag == job.etag()) return absl::OkStatus();
  return WithReason(absl::AbortedError(absl::StrCat("etag: ", engine::Quoted(etag),
                                                    " seen, expected ", engine::Quoted(job.etag()),
                                                    ", the etag of job ", job.id, " now")),
                    "ETAG_MISMATCH");
}

void EndPreparation(Job& job, const Preparation& preparation, const absl::Status& status,
                    const Retry& retry) {
  if (job.state != JobState::kValidating) return;
  job.details = preparation.details;
  job.next_attempt_time.reset();
  if (!status.ok()) return RetryOrFail(job, status, retry);
  job.error.reset();
  job.failures = 0;
  job.prepared = true;
  job.bytes = preparation.bytes;
  SetState(job, JobState::kQueued, "");
}

absl::Status BeginRun(Job& job, WallTime now) {
  if (job.state != JobState::kQueued) return WrongState(job, "queued");
  SetState(job, JobState::kRunning, "");
  if (!job.start_time) job.start_time = now;
  job.next_attempt_time.reset();
  return absl::OkStatus();
}

void EndRun(Job& job, const absl::StatusOr<nlohmann::json>& result, bool stopped,
            const Retry& retry) {
  if (result.ok()) {
    job.result = *result;
    job.error.reset();
    EndJob(job, JobState::kSucceeded, "", retry.now);
  } else if (job.state == JobState::kCancelling) {
    EndJob(job, JobState::kCancelled, job.reason, retry.now);
    job.error.reset();
  } else if (stopped && job.state == JobState::kPausing) {
    SetState(job, JobState::kPaused, job.reason);
  } else if (stopped) {
    SetState(job, JobState::kQueued, kServerStopped);
  } else {
    const bool pauses = job.state == JobState::kPausing;
    RetryOrFail(job, result.status(), retry);
    if (pauses && job.state == JobState::kQueued) job.state = JobState::kPaused;
  }
}

void RetryOrFail(Job& job, const absl::Status& status, const Retry& retry) {
  job.error = ToJobError(status);
  ++job.failures;
  if (!retry.temporary || job.failures >= kMaxJobFailures) {
    return EndJob(job, JobState::kFailed, job.error->message, retry.now);
  }
  SetState(job, WaitingState(job),
           absl::StrCat("attempt ", job.attempt, " failed: ", job.error->message));
  job.next_attempt_time =
      retry.now + std::min(retry.first_backoff * (1 << (job.failures - 1)), retry.longest_backoff);
  ++job.attempt;
}

absl::Status CrashError(const std::optional<Heartbeat>& last) {
  std::string text = "the server crashed while it ran";
  if (last) {
    absl::StrAppend(
        &text, " (last heartbeat ",
        absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromChrono(last->time), absl::UTCTimeZone()),
        last->value.empty() ? "" : absl::StrCat(", stage ", last->value), ")");
  }
  return WithReason(absl::UnavailableError(text), "SERVER_CRASHED");
}

void RecoverJob(Job& job, const absl::Status& crash, const Retry& retry) {
  switch (job.state) {
    case JobState::kRunning:
      RetryOrFail(job, crash, retry);
      break;
    case JobState::kPausing:
      SetState(job, JobState::kPaused, job.reason);
      ++job.attempt;
      break;
    case JobState::kCancelling:
      EndJob(job, JobState::kCancelled, job.reason, retry.now);
      break;
    default:
      break;
  }
}

void ShutDownJob(Job& job, WallTime now) {
  if (IsRunning(job.state)) {
    SetState(job, JobState::kCancelling, kShuttingDown);
  } else if (!HasEnded(job.state)) {
    EndJob(job, JobState::kCancelled, kShuttingDown, now);
  }
}

bool ShouldStop(JobState state) {
  return state != JobState::kValidating && state != JobState::kQueued &&
         state != JobState::kRunning;
}

JobEvent StateEvent(const Job& job) {
  const EventLevel level = job.state == JobState::kFailed                ? EventLevel::kError
                           : job.error && job.state == JobState::kQueued ? EventLevel::kWarning
                                                                         : EventLevel::kInfo;
  return {.level = level,
          .attempt = job.attempt,
          .type = "state",
          .values = {{"state", std::string(Name(job.state))}, {"reason", job.reason}}};
}

}  // namespace whipsnake::server
