#include "server/jobs/job_transitions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>

#include "server/errors.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr WallTime kNow{milliseconds(1'000'000)};
const absl::Status kFull = absl::ResourceExhaustedError("no memory");
const absl::Status kStopped = absl::CancelledError("the job has to stop");

Retry RetryWith(bool temporary) {
  return {.temporary = temporary,
          .first_backoff = milliseconds(100),
          .longest_backoff = milliseconds(500),
          .now = kNow};
}

Job JobIn(JobState state) {
  Job job{.kind = "fake", .id = "a", .uid = "1"};
  job.state = state;
  job.reason = "before";
  job.prepared = state != JobState::kValidating;
  return job;
}

// What is asked of a job, as an error or OK.
using Request = std::function<absl::Status(Job&)>;
template <typename Change>
Request Always(Change change) {
  return [change](Job& job) {
    change(job);
    return absl::OkStatus();
  };
}

struct Row {
  std::string name;
  Request request;
  // Of jobs that are validating, queued, running, pausing, paused, cancelling, succeeded, failed
  // and cancelled, in this order. "": refused.
  std::array<std::string, kJobStateCount> after;
};

std::vector<Row> Rows() {
  const Preparation preparation{.bytes = 5};
  return {
      {"cancel",
       [](Job& job) { return CancelJob(job, kNow); },
       {"cancelled", "cancelled", "cancelling", "cancelling", "cancelled", "cancelling", "", "",
        "cancelled"}},
      {"pause", PauseJob, {"paused", "paused", "pausing", "pausing", "paused", "", "", "", ""}},
      {"resume",
       ResumeJob,
       {"validating", "queued", "running", "", "queued", "", "", "queued", ""}},
      {"delete",
       [](Job& job) { return CheckDeletable(job); },
       {"", "", "", "", "paused", "", "succeeded", "failed", "cancelled"}},
      {"begin a run",
       [](Job& job) { return BeginRun(job, kNow); },
       {"", "running", "", "", "", "", "", "", ""}},
      {"prepared",
       Always([=](Job& job) { EndPreparation(job, preparation, {}, RetryWith(false)); }),
       {"queued", "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed",
        "cancelled"}},
      {"preparation failed",
       Always([=](Job& job) { EndPreparation(job, preparation, kFull, RetryWith(false)); }),
       {"failed", "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed",
        "cancelled"}},
      {"preparation may pass",
       Always([=](Job& job) { EndPreparation(job, preparation, kFull, RetryWith(true)); }),
       {"validating", "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed",
        "cancelled"}},
      {"crash",
       Always([](Job& job) { RecoverJob(job, CrashError(std::nullopt), RetryWith(true)); }),
       {"validating", "queued", "queued", "paused", "paused", "cancelled", "succeeded", "failed",
        "cancelled"}},
      {"shutdown for good",
       Always([](Job& job) { ShutDownJob(job, kNow); }),
       {"cancelled", "cancelled", "cancelling", "cancelling", "cancelled", "cancelling",
        "succeeded", "failed", "cancelled"}},
  };
}

TEST(JobTransitionsTest, EachStateAnswersEachRequest) {
  for (const Row& row : Rows()) {
    for (int i = 0; i < kJobStateCount; ++i) {
      Job job = JobIn(static_cast<JobState>(i));
      SCOPED_TRACE(row.name + " of a job that is " + std::string(Name(job.state)));
      const Job before = job;
      const absl::Status status = row.request(job);
      EXPECT_EQ(status.ok(), !row.after[i].empty()) << status;
      if (status.ok()) {
        EXPECT_EQ(Name(job.state), row.after[i]);
      } else {
        EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
        EXPECT_EQ(ReasonOf(status), "JOB_STATE");
        EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(Name(before.state))));
        EXPECT_EQ(JobValue(job), JobValue(before));
      }
      EXPECT_EQ(HasEnded(job.state) && !HasEnded(before.state), job.end_time.has_value());
    }
  }
}

TEST(JobTransitionsTest, ARunEndsAsItsStateAndItsResultSay) {
  struct Case {
    JobState before;
    absl::StatusOr<json> result;
    bool stopped, temporary;
    JobState after;
  };
  using enum JobState;
  for (const auto& [before, result, stopped, temporary, after] : {
           Case{kRunning, json{{"steps", 1}}, false, false, kSucceeded},
           Case{kPausing, json{{"steps", 1}}, false, false, kSucceeded},
           Case{kCancelling, json{{"steps", 1}}, true, false, kSucceeded},
           Case{kRunning, kStopped, true, false, kQueued},  // the server stops
           Case{kPausing, kStopped, true, false, kPaused},
           Case{kCancelling, kStopped, true, false, kCancelled},
           Case{kRunning, kStopped, false, false, kFailed},  // nobody has asked for it
           Case{kRunning, kFull, false, true, kQueued},
           Case{kPausing, kFull, false, true, kPaused},
           Case{kCancelling, kFull, false, true, kCancelled},
           Case{kRunning, kFull, false, false, kFailed},
           Case{kPausing, kFull, false, false, kFailed},
       }) {
    Job job = JobIn(before);
    EndRun(job, result, stopped, RetryWith(temporary));
    EXPECT_EQ(Name(job.state), Name(after)) << Name(before) << ", " << result.status();
    EXPECT_EQ(job.end_time.has_value(), HasEnded(after));
  }
}

TEST(JobTransitionsTest, FailuresInARowWaitLongerAndThenEndTheJob) {
  Job job = JobIn(JobState::kRunning);
  for (const int64_t wait : {100, 200, 400, 500}) {
    RetryOrFail(job, kFull, RetryWith(true));
    EXPECT_EQ(job.state, JobState::kQueued);
    EXPECT_EQ(job.next_attempt_time, kNow + milliseconds(wait));
  }
  EXPECT_EQ(job.attempt, 5);
  EXPECT_EQ(job.reason, "attempt 4 failed: no memory");
  EXPECT_EQ(StateEvent(job).level, EventLevel::kWarning);
  RetryOrFail(job, kFull, RetryWith(true));
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.failures, kMaxJobFailures);
  EXPECT_EQ(job.next_attempt_time, std::nullopt);
  EXPECT_EQ(StateEvent(job).level, EventLevel::kError);
  ASSERT_TRUE(ResumeJob(job).ok());
  EXPECT_EQ(job.failures, 0);
  EXPECT_EQ(job.attempt, 6);
}

TEST(JobTransitionsTest, AJobThatFailedBeforeItWasPreparedCannotBeResumed) {
  Job job = JobIn(JobState::kFailed);
  job.prepared = false;
  EXPECT_TRUE(absl::IsFailedPrecondition(ResumeJob(job)));
}

}  // namespace
}  // namespace whipsnake::server
