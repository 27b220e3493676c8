// What metrics cost: a scrape of a server with 50 models, and the counting while a model decodes.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "server/metrics/metrics.h"
#include "server/metrics/model_metrics.h"
#include "server/registry/model_loader.h"
#include "server/rpc/metrics_messages.h"

namespace whipsnake::server {
namespace {

constexpr char kModel[] = "deploy/models/mamba-demo";  // from the root of the repository

class IdleGenerator : public engine::Generator {
 public:
  absl::StatusOr<std::shared_ptr<engine::GenerationStream>> Submit(engine::GenerationRequest,
                                                                   std::function<void()>) override {
    return absl::UnimplementedError("");
  }
  void Drain() override {}
  void SetQueueLimits(const engine::QueueLimits&) override {}
  engine::GeneratorLoad load() const override { return {.running = 1}; }
};

// The metrics of a server with models that have served.
class ManyModels {
 public:
  explicit ManyModels(int64_t count) {
    engine::Finished finished;
    finished.usage = {.prompt_tokens = 100, .generated_tokens = 100};
    for (int64_t i = 0; i < count; ++i) {
      models_.push_back(std::make_unique<ModelMetrics>(metrics_, "model-" + std::to_string(i)));
      ModelMetrics& model = *models_.back();
      model.OnLoaded({}, 1);
      model.Attach(generator_, {});
      model.SetState("ready");
      for (double seconds = 1e-3; seconds < 100; seconds *= 1.7) {
        model.OnStep({.decoding = 1}, seconds);
        model.OnFirstToken(seconds);
        model.OnInterToken(seconds);
        model.OnFinished(absl::OkStatus(), finished, seconds);
      }
    }
  }
  ~ManyModels() {
    for (const auto& model : models_) model->Detach();
  }

  const MetricsRegistry& registry() const { return metrics_.registry; }

 private:
  const IdleGenerator generator_;
  Metrics metrics_;
  std::vector<std::unique_ptr<ModelMetrics>> models_;
};

void ScrapeText(benchmark::State& state) {
  const ManyModels models(state.range(0));
  size_t bytes = 0;
  for (auto _ : state) bytes = models.registry().Text().size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(ScrapeText)->ArgName("models")->Arg(1)->Arg(50)->Unit(benchmark::kMillisecond);

void ScrapeMessages(benchmark::State& state) {
  const ManyModels models(state.range(0));
  for (auto _ : state) {
    for (const auto& family : models.registry().Collect()) {
      benchmark::DoNotOptimize(ToProto(family));
    }
  }
}
BENCHMARK(ScrapeMessages)->ArgName("models")->Arg(50)->Unit(benchmark::kMillisecond);

// Passes what the engine says on to the metrics, if it is on.
class SwitchedObserver final : public engine::GenerationObserver {
 public:
  explicit SwitchedObserver(ModelMetrics& metrics) : metrics_(metrics) {}

  std::atomic<bool> on = false;

  void OnStarted(double queue_seconds) override {
    if (on) metrics_.OnStarted(queue_seconds);
  }
  void OnCacheLookup(bool hit) override {
    if (on) metrics_.OnCacheLookup(hit);
  }
  void OnStep(const engine::StepShape& shape, double seconds) override {
    if (on) metrics_.OnStep(shape, seconds);
  }
  void OnFirstToken(double seconds) override {
    if (on) metrics_.OnFirstToken(seconds);
  }
  void OnInterToken(double seconds) override {
    if (on) metrics_.OnInterToken(seconds);
  }
  void OnFinished(const absl::Status& status, const engine::Finished& finished,
                  double seconds) override {
    if (on) metrics_.OnFinished(status, finished, seconds);
  }

 private:
  ModelMetrics& metrics_;
};

// Returns how long a generator takes for one request of so many tokens, in seconds.
double DecodeSeconds(engine::Generator& generator, int64_t tokens) {
  engine::Mutex mutex;
  engine::CondVar ready;
  engine::GenerationRequest request;
  request.prompt = {1, 2, 3};
  request.sampling.temperature = 0;
  request.max_new_tokens = tokens;
  const auto begin = std::chrono::steady_clock::now();
  const auto stream = generator.Submit(std::move(request), [&] {
    engine::MutexLock lock(mutex);
    ready.NotifyAll();
  });
  if (!stream.ok()) return -1;
  engine::MutexLock lock(mutex);
  while (!(*stream)->Take().done)
    ready.WaitUntil(mutex, std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

// The demo model decodes one sequence, without and with metrics in turn.
void DecodeWithMetrics(benchmark::State& state) {
  constexpr int64_t kTokens = 200;
  engine::Executor executor(1);
  engine::Ledger ledger(0);
  Metrics metrics;
  ModelMetrics model(metrics, "demo");
  SwitchedObserver observer(model);
  const auto loaded = MakeDirectoryLoader({&executor, &ledger}, {})(kModel, {}, &observer);
  if (!loaded.ok()) return state.SkipWithError(std::string(loaded.status().message()).c_str());
  std::vector<double> without, with;
  for (auto _ : state) {
    for (const bool on : {false, true}) {
      observer.on = on;
      (on ? with : without).push_back(DecodeSeconds(*loaded->generator, kTokens) / kTokens);
    }
    state.SetIterationTime(with.back() * kTokens);
  }
  state.counters["us_per_token_without"] = 1e6 * Median(without);
  state.counters["us_per_token_with"] = 1e6 * Median(with);
  state.counters["overhead_percent"] = 100 * (Median(with) / Median(without) - 1);
}
BENCHMARK(DecodeWithMetrics)->UseManualTime()->Iterations(60)->Unit(benchmark::kMillisecond);

// The same without a model: what one token costs, beside what a step takes.
void CountOneToken(benchmark::State& state) {
  Metrics metrics;
  ModelMetrics model(metrics, "demo");
  for (auto _ : state) {
    model.OnStep({.decoding = 1}, 0.001);
    model.OnInterToken(0.001);
  }
}
BENCHMARK(CountOneToken);

}  // namespace
}  // namespace whipsnake::server
