#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "server/metrics/model_metrics.h"

namespace whipsnake::server {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(HistogramTest, AValueFallsIntoTheFirstBucketThatHoldsIt) {
  Histogram histogram({1, 2, 4});
  for (const double value : {0.5, 1.0, 1.5, 2.0, 4.0, 4.1, 1e9}) histogram.Observe(value);
  EXPECT_EQ(histogram.Counts(), (std::vector<uint64_t>{2, 2, 1, 2}));
  EXPECT_DOUBLE_EQ(histogram.sum(), 0.5 + 1 + 1.5 + 2 + 4 + 4.1 + 1e9);
}

TEST(HistogramTest, IsCumulativeInTheText) {
  MetricsRegistry registry;
  auto& family =
      registry.AddHistogram({.name = "h", .help = "help", .labels = {{.name = "model"}}}, {1, 2});
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
  auto& counters =
      registry.AddCounter({.name = "c", .help = "help", .labels = {{.name = "model"}}});
  auto& histograms =
      registry.AddHistogram({.name = "h", .help = "help", .labels = {{.name = "model"}}}, {0.5});
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

TEST(RegistryTest, ListedCombinationsAreThereFromTheStart) {
  MetricsRegistry registry;
  registry.AddCounter(
      {.name = "c",
       .help = "help",
       .labels = {{.name = "a", .values = {"1", "2"}}, {.name = "b", .values = {"3"}}}});
  registry.AddCounter(
      {.name = "open", .help = "help", .labels = {{.name = "a", .values = {"1"}}, {.name = "b"}}});
  registry.AddCounter({.name = "single", .help = "help"});
  EXPECT_EQ(registry.Text(),
            "# HELP c help\n# TYPE c counter\nc{a=\"1\",b=\"3\"} 0\nc{a=\"2\",b=\"3\"} 0\n"
            "# HELP open help\n# TYPE open counter\n"
            "# HELP single help\n# TYPE single counter\nsingle 0\n");
}

TEST(RegistryTest, APrefixChoosesFamilies) {
  MetricsRegistry registry;
  for (const char* name : {"a_one", "a_two", "b_one"}) {
    registry.AddGauge({.name = name, .help = "help"}).With({}).Set(1);
  }
  EXPECT_EQ(registry.CollectFrom("a_").size(), 2);
  EXPECT_EQ(registry.CollectFrom("").size(), 3);
  EXPECT_EQ(registry.CollectFrom("c").size(), 0);
}

TEST(RegistryTest, LabelValuesAreEscaped) {
  MetricsRegistry registry;
  registry.AddGauge({.name = "g", .help = "help", .labels = {{.name = "model"}}})
      .With({"a\"b\\c\nd"})
      .Set(1);
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

// A generator that has only a load.
class LoadedGenerator : public engine::Generator {
 public:
  absl::StatusOr<std::shared_ptr<engine::GenerationStream>> Submit(engine::GenerationRequest,
                                                                   std::function<void()>) override {
    return absl::UnimplementedError("");
  }
  void Drain() override {}
  void SetQueueLimits(const engine::QueueLimits&) override {}
  engine::GeneratorLoad load() const override { return {.running = 2, .state_bytes = 100}; }
};

TEST(ModelMetricsTest, OnlyModelsWithPositionsHaveKeysAndValues) {
  const LoadedGenerator generator;
  Metrics metrics;
  ModelMetrics transformer(metrics, "transformer"), recurrent(metrics, "recurrent");
  engine::ModelInfo info;
  recurrent.Attach(generator, info);
  info.max_positions = 1024;
  transformer.Attach(generator, info);
  const std::string text = metrics.registry.Text();
  for (const char* line :
       {"whipsnake_state_bytes{model=\"recurrent\",device=\"cpu\"} 100\n",
        "whipsnake_state_bytes{model=\"transformer\",device=\"cpu\"} 100\n",
        "whipsnake_kv_cache_bytes{model=\"transformer\",device=\"cpu\"} 100\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("whipsnake_kv_cache_bytes{model=\"recurrent\"")));
  transformer.Detach();
  EXPECT_THAT(metrics.registry.Text(), Not(HasSubstr("whipsnake_kv_cache_bytes{model")));
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
