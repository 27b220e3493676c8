#include "server/jobs/job_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/jobs/fine_tuning_run.h"

namespace whipsnake::server {
namespace {

using testing::HasSubstr;
using testing::Not;

class JobMetricsTest : public testing::Test {
 protected:
  // A job that has just started.
  Job StartJob(const std::string& id, const std::string& model) {
    Job job{.kind = std::string(kFineTuning), .id = id, .uid = id};
    job.request["spec"]["model"] = model;
    job.state = JobState::kRunning;
    job.create_time = job.start_time.emplace(std::chrono::system_clock::now());
    jobs_.OnState(job, JobState::kQueued);
    return job;
  }
  void End(Job job, JobState state) {
    job.state = state;
    jobs_.OnState(job, JobState::kRunning);
  }
  void Tell(const Job& job, std::string_view type, nlohmann::json values = {}) {
    JobEvent event;
    event.type = type;
    if (!values.is_null()) event.values = std::move(values);
    jobs_.OnEvent(job, event);
  }
  std::string Text() const { return metrics_.registry.Text(); }

  Metrics metrics_;
  JobMetrics jobs_{metrics_};
};

// An alert on an increase needs the value before the first event.
TEST_F(JobMetricsTest, CountersAreThereBeforeTheFirstJob) {
  for (const char* line :
       {"whipsnake_finetune_job_transitions_total{to=\"failed\",reason=\"failure\"} 0\n",
        "whipsnake_finetune_checkpoints_total{result=\"failed\"} 0\n",
        "whipsnake_quantizations_total{result=\"failed\"} 0\n",
        "whipsnake_finetune_jobs{state=\"running\"} 0\n"}) {
    EXPECT_THAT(Text(), HasSubstr(line));
  }
}

TEST_F(JobMetricsTest, CheckpointsCountByTheirResults) {
  const Job job = StartJob("a", "m");
  Tell(job, "checkpoint");
  Tell(job, "checkpoint");
  Tell(job, kCheckpointFailed);
  EXPECT_THAT(Text(), HasSubstr("whipsnake_finetune_checkpoints_total{result=\"succeeded\"} 2\n"));
  EXPECT_THAT(Text(), HasSubstr("whipsnake_finetune_checkpoints_total{result=\"failed\"} 1\n"));
}

// As with the last events of a job, which become durable together with its end.
TEST_F(JobMetricsTest, EventsCountAfterTheEnd) {
  const Job job = StartJob("a", "m");
  End(job, JobState::kFailed);
  Tell(job, "step");
  Tell(job, kCheckpointFailed);
  EXPECT_THAT(Text(), HasSubstr("whipsnake_finetune_steps_total{base_model=\"m\"} 1\n"));
  EXPECT_THAT(Text(), HasSubstr("whipsnake_finetune_checkpoints_total{result=\"failed\"} 1\n"));
  EXPECT_THAT(Text(), Not(HasSubstr("slot=\"0\"")));
}

TEST_F(JobMetricsTest, ARunningJobShowsItsLastProgress) {
  const auto now = [] {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  Gauge& progress = metrics_.finetune_last_progress.With({"0"});
  const double before = now();
  const Job job = StartJob("a", "m");
  const double started = progress.value();
  EXPECT_GE(started, before);
  Tell(job, "checkpoint");
  EXPECT_EQ(progress.value(), started);
  progress.Set(0);
  for (const char* type : {"step", "evaluation"}) {
    Tell(job, type);
    EXPECT_GE(progress.value(), started);
    EXPECT_LE(progress.value(), now());
    progress.Set(0);
  }
  End(job, JobState::kSucceeded);
  EXPECT_THAT(Text(), Not(HasSubstr("slot=\"0\"")));
}

TEST_F(JobMetricsTest, ModelsBeyondTheLimitAreOther) {
  constexpr int kModels = JobMetrics::kMaxBaseModels + 10;
  for (int i = 0; i < kModels; ++i) {
    const Job job = StartJob("a", absl::StrCat("model-", i));
    Tell(job, "step");
    End(job, JobState::kSucceeded);
  }
  const auto line = [](const std::string& model, int steps) {
    return absl::StrCat("whipsnake_finetune_steps_total{base_model=\"", model, "\"} ", steps, "\n");
  };
  EXPECT_THAT(Text(), HasSubstr(line("model-0", 1)));
  EXPECT_THAT(Text(), HasSubstr(line("other", 10)));
  EXPECT_THAT(Text(), Not(HasSubstr(absl::StrCat("model-", kModels - 1))));
}

}  // namespace
}  // namespace whipsnake::server
