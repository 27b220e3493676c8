// What clients, attempts and stops of the server do to a job: the states and the way from one to
// another. Pure functions: they change the job that they are given and nothing else.
//
// A function that returns an error has changed nothing.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_TRANSITIONS_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_TRANSITIONS_H_

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/jobs/job.h"
#include "server/jobs/job_kind.h"
#include "server/store/store.h"

namespace whipsnake::server {

// Attempts in a row that may fail without a commit of the work; with the last the job has failed.
inline constexpr int kMaxJobFailures = 5;

// What decides whether a job that fails now is tried again, and when.
struct Retry {
  bool temporary = false;  // whether another attempt may succeed where this one has failed
  // Before the second attempt; doubles with each failure.
  std::chrono::milliseconds first_backoff{0}, longest_backoff{0};
  WallTime now = {};
};

// Requests of clients. FAILED_PRECONDITION (JOB_STATE), naming the states that were expected.
// Nothing changes if the job is already what is asked for.
absl::Status CancelJob(Job& job, WallTime now);
absl::Status PauseJob(Job& job);
absl::Status ResumeJob(Job& job);
// Whether the job can be deleted.
absl::Status CheckDeletable(const Job& job);
// ABORTED (ETAG_MISMATCH) unless the etag is the job's or "".
absl::Status CheckEtag(const Job& job, std::string_view etag);

// A preparation has ended with this status. It no longer matters if the job is not kValidating.
void EndPreparation(Job& job, const Preparation& preparation, const absl::Status& status,
                    const Retry& retry);
// A run begins. FAILED_PRECONDITION if the job is no longer kQueued.
absl::Status BeginRun(Job& job, WallTime now);
// A run has ended. `stopped`: because it was asked to, and its work can go on from where it is.
void EndRun(Job& job, const absl::StatusOr<nlohmann::json>& result, bool stopped,
            const Retry& retry);
// Readies a job whose attempt has failed for the next one, or ends it.
void RetryOrFail(Job& job, const absl::Status& status, const Retry& retry);

// The error of an attempt during which the server crashed: UNAVAILABLE (SERVER_CRASHED). Says when
// the attempt was last known to be alive, and what it did, which is the value of the heartbeat.
absl::Status CrashError(const std::optional<Heartbeat>& last);
// The server has started and finds the job: one that was running is tried again, and changes that
// were under way happen.
void RecoverJob(Job& job, const absl::Status& crash, const Retry& retry);
// The server stops and will not know the job again: one that runs has to stop, others are
// cancelled.
void ShutDownJob(Job& job, WallTime now);

// Whether an attempt that works on a job should stop because of the state.
bool ShouldStop(JobState state);

// The event that tells of the state.
JobEvent StateEvent(const Job& job);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_TRANSITIONS_H_
