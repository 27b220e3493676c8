#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <thread>

#include "server/metrics/model_metrics.h"

namespace whipsnake::server {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::Not;

// Users' dashboards and alerts depend on these names. A renamed metric must keep its old name
// beside the new one for two releases.
TEST(MetricsTest, FamiliesAreThese) {
  const std::vector<std::string> names = {
      "whipsnake_build_info gauge",
      "whipsnake_rpc_requests_total counter",
      "whipsnake_rpc_duration_seconds histogram",
      "whipsnake_connections gauge",
      "whipsnake_connections_turned_away_total counter",
      "whipsnake_requests_running gauge",
      "whipsnake_requests_waiting gauge",
      "whipsnake_requests_rejected_total counter",
      "whipsnake_requests_finished_total counter",
      "whipsnake_time_to_first_token_seconds histogram",
      "whipsnake_inter_token_latency_seconds histogram",
      "whipsnake_request_duration_seconds histogram",
      "whipsnake_queue_duration_seconds histogram",
      "whipsnake_prefill_duration_seconds histogram",
      "whipsnake_decode_duration_seconds histogram",
      "whipsnake_prompt_tokens_total counter",
      "whipsnake_cached_prompt_tokens_total counter",
      "whipsnake_generated_tokens_total counter",
      "whipsnake_request_prompt_tokens histogram",
      "whipsnake_request_generated_tokens histogram",
      "whipsnake_batch_size histogram",
      "whipsnake_engine_step_duration_seconds histogram",
      "whipsnake_state_slots_used gauge",
      "whipsnake_state_slots_limit gauge",
      "whipsnake_state_bytes gauge",
      "whipsnake_state_cache_bytes gauge",
      "whipsnake_state_cache_lookups_total counter",
      "whipsnake_saved_states gauge",
      "whipsnake_saved_state_bytes gauge",
      "whipsnake_dataset_uploads_total counter",
      "whipsnake_dataset_bytes gauge",
      "whipsnake_datasets gauge",
      "whipsnake_model_state gauge",
      "whipsnake_model_load_duration_seconds histogram",
      "whipsnake_weights_bytes gauge",
      "whipsnake_finetune_jobs gauge",
      "whipsnake_finetune_job_transitions_total counter",
      "whipsnake_finetune_queue_duration_seconds histogram",
      "whipsnake_finetune_step_duration_seconds histogram",
      "whipsnake_finetune_steps_total counter",
      "whipsnake_finetune_samples_total counter",
      "whipsnake_finetune_tokens_total counter",
      "whipsnake_finetune_checkpoints_total counter",
      "whipsnake_finetune_job_info gauge",
      "whipsnake_finetune_progress_ratio gauge",
      "whipsnake_finetune_loss gauge",
      "whipsnake_finetune_frozen_ratio gauge",
      "whipsnake_finetune_reserved_bytes gauge",
      "whipsnake_finetune_peak_memory_bytes gauge",
      "whipsnake_finetune_activation_bytes gauge",
      "whipsnake_finetune_moment_bytes gauge",
      "whipsnake_finetune_preemptions_total counter",
      "whipsnake_compute_seconds_total counter",
      "whipsnake_quantizations_running gauge",
      "whipsnake_quantizations_waiting gauge",
      "whipsnake_quantizations_total counter",
      "whipsnake_device_memory_used_bytes gauge",
      "whipsnake_device_memory_purpose_bytes gauge",
      "whipsnake_device_memory_limit_bytes gauge",
      "whipsnake_draining gauge",
      "process_cpu_seconds_total counter",
      "process_virtual_memory_bytes gauge",
      "process_resident_memory_bytes gauge",
      "process_open_fds gauge",
      "process_max_fds gauge",
      "process_start_time_seconds gauge",
  };
  std::vector<std::string> seen;
  std::istringstream text(Metrics().registry.Text());
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("# TYPE ")) seen.push_back(line.substr(7));
  }
  EXPECT_THAT(seen, ElementsAreArray(names));
}

TEST(MetricsTest, EveryFamilyHasAHelpText) {
  for (const auto& family : Metrics().registry.Collect()) {
    EXPECT_GT(family.help.size(), 10) << family.name;
  }
}

TEST(HistogramTest, AValueFallsIntoTheFirstBucketThatHoldsIt) {
  Histogram histogram({1, 2, 4});
  for (const double value : {0.5, 1.0, 1.5, 2.0, 4.0, 4.1, 1e9}) histogram.Observe(value);
  EXPECT_EQ(histogram.Counts(), (std::vector<uint64_t>{2, 2, 1, 2}));
  EXPECT_DOUBLE_EQ(histogram.sum(), 0.5 + 1 + 1.5 + 2 + 4 + 4.1 + 1e9);
}

TEST(HistogramTest, IsCumulativeInTheText) {
  MetricsRegistry registry;
  auto& family = registry.AddHistogram("h", "help", {"model"}, {1, 2});
  for (const double value : {0.5, 1.5, 1.75, 3.0}) family.With({"m"}).Observe(value);
  EXPECT_EQ(registry.Text(),
            "# HELP h help\n# TYPE h histogram\n"
            "h_count{model=\"m\"} 4\nh_sum{model=\"m\"} 6.75\n"
            "h_bucket{model=\"m\",le=\"1\"} 1\n"
            "h_bucket{model=\"m\",le=\"2\"} 3\n"
            "h_bucket{model=\"m\",le=\"+Inf\"} 4\n");
}

TEST(RegistryTest, NothingIsLostWhenThreadsRecordDuringScrapes) {
  constexpr int kThreads = 4;
  constexpr int kTimes = 5000;
  MetricsRegistry registry;
  auto& counters = registry.AddCounter("c", "help", {"model"});
  auto& histograms = registry.AddHistogram("h", "help", {"model"}, {0.5});
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      Counter& counter = counters.With({"m"});
      Histogram& histogram = histograms.With({"m"});
      for (int i = 0; i < kTimes; ++i) {
        counter.Add();
        histogram.Observe(1);
        if (i % 500 == 0) registry.Text();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counters.With({"m"}).value(), kThreads * kTimes);
  EXPECT_EQ(histograms.With({"m"}).Counts(), (std::vector<uint64_t>{0, kThreads * kTimes}));
  EXPECT_DOUBLE_EQ(histograms.With({"m"}).sum(), kThreads * kTimes);
}

TEST(RegistryTest, LabelValuesAreEscaped) {
  MetricsRegistry registry;
  registry.AddGauge("g", "help", {"model"}).With({"a\"b\\c\nd"}).Set(1);
  EXPECT_THAT(registry.Text(), HasSubstr(R"(g{model="a\"b\\c\nd"} 1)"));
}

TEST(ModelMetricsTest, ReportsWhatTheEngineSays) {
  Metrics metrics;
  ModelMetrics model(metrics, "m");
  engine::Finished finished;
  finished.reason = engine::FinishReason::kEos;
  finished.usage = {.prompt_tokens = 7, .cached_prompt_tokens = 2, .generated_tokens = 3};
  model.OnStarted(0.5);
  model.OnStep({.prefilling = 1, .prompt_tokens = 7}, 0.25);
  model.OnFirstToken(0.75);
  model.OnStep({.decoding = 1}, 0.125);
  model.OnStep({.decoding = 3, .prefilling = 2, .prompt_tokens = 9}, 0.5);
  model.OnInterToken(0.125);
  model.OnFinished(absl::OkStatus(), finished, 1.0);
  // Cancelled and late requests have an error status too, but only a failure of the engine counts
  // as an error.
  finished.reason = engine::FinishReason::kCancelled;
  model.OnFinished(absl::CancelledError("gone"), finished, 1.0);
  finished.reason = engine::FinishReason::kLength;
  model.OnFinished(absl::InternalError("broken"), finished, 1.0);
  model.OnRejected(absl::ResourceExhaustedError("full"));

  const std::string text = metrics.registry.Text();
  for (const char* line : {
           "whipsnake_requests_finished_total{model=\"m\",reason=\"eos\"} 1\n",
           "whipsnake_requests_finished_total{model=\"m\",reason=\"cancelled\"} 1\n",
           "whipsnake_requests_finished_total{model=\"m\",reason=\"error\"} 1\n",
           "whipsnake_requests_finished_total{model=\"m\",reason=\"length\"} 0\n",
           "whipsnake_requests_rejected_total{model=\"m\",reason=\"queue_full\"} 1\n",
           "whipsnake_prompt_tokens_total{model=\"m\"} 21\n",
           "whipsnake_cached_prompt_tokens_total{model=\"m\"} 6\n",
           "whipsnake_generated_tokens_total{model=\"m\"} 9\n",
           "whipsnake_queue_duration_seconds_sum{model=\"m\"} 0.5\n",
           "whipsnake_time_to_first_token_seconds_sum{model=\"m\"} 0.75\n",
           "whipsnake_inter_token_latency_seconds_sum{model=\"m\"} 0.125\n",
           "whipsnake_request_duration_seconds_count{model=\"m\",kind=\"generate\"} 3\n",
           "whipsnake_engine_step_duration_seconds_sum{model=\"m\",phase=\"prefill\",device="
           "\"cpu\"} "
           "0.25\n",
           "whipsnake_batch_size_count{model=\"m\",phase=\"decode\"} 2\n",
           "whipsnake_batch_size_sum{model=\"m\",phase=\"decode\"} 4\n",
           "whipsnake_batch_size_sum{model=\"m\",phase=\"prefill\"} 3\n",
           "whipsnake_engine_step_duration_seconds_sum{model=\"m\",phase=\"mixed\",device="
           "\"cpu\"} "
           "0.5\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(ModelMetricsTest, SeriesGoWithTheModel) {
  Metrics metrics;
  ModelMetrics stays(metrics, "stays");
  {
    ModelMetrics goes(metrics, "goes");
    goes.SetState("ready");
    EXPECT_THAT(metrics.registry.Text(),
                HasSubstr("whipsnake_model_state{model=\"goes\",state=\"ready\"} 1\n"));
    goes.SetState("failed");
    EXPECT_THAT(metrics.registry.Text(),
                HasSubstr("whipsnake_model_state{model=\"goes\",state=\"ready\"} 0\n"));
  }
  EXPECT_THAT(metrics.registry.Text(), Not(HasSubstr("\"goes\"")));
  EXPECT_THAT(metrics.registry.Text(), HasSubstr("\"stays\""));
}

}  // namespace
}  // namespace whipsnake::server
