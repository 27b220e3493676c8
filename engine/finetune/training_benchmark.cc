// Times training steps of a model with random weights, and measures their memory.
//
//   training_benchmark CONFIG [length=256] [steps=2] [warmup=1] [threads=2] [plan]
//                      [SETTING[=VALUE] ...]
//
// SETTING is a key of ParseFineTuningSpec(): batch=16, precision=bf16, checkpointing, moments=drop,
// scheduler=slimfit. `plan` prints what was planned before the first step:
// the memory, and the time with the rates of the machine at that moment.
// A step is forward, backward and AdamW on random tokens with labels = inputs, without dropout, as
// in tests/oracles/bench_training.py. Prints one line of JSON for each measured step. Among others
// it has the intervals between the points at which a step lets serving in: what 50%, 99% and all of
// the time is within.
#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/base/executor.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/finetune/fine_tuning_spec.h"
#include "engine/finetune/plan/measure_rates.h"
#include "engine/finetune/plan/training_plan.h"
#include "engine/finetune/trainer.h"
#include "engine/models/config.h"
#include "engine/models/family.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {
namespace {

class RandomBatches : public BatchSource {
 public:
  RandomBatches(int64_t batch, int64_t length, int64_t vocabulary) {
    std::mt19937 random(1);
    for (int64_t i = 0; i < batch; ++i) {
      std::vector<int32_t>& tokens = batch_.examples.emplace_back().sequences.emplace_back();
      for (int64_t t = 0; t < length; ++t) {
        tokens.push_back(static_cast<int32_t>(random() % vocabulary));
      }
    }
  }
  int64_t batches() const override { return 1; }
  TrainingBatch Largest() const override { return batch_; }
  absl::StatusOr<TrainingBatch> Read(int64_t, int64_t) override { return batch_; }

 private:
  TrainingBatch batch_;
};

// A number of /proc/self/status, in bytes.
int64_t ProcessBytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

// The settings of a job, from flags whose names are the keys of ParseFineTuningSpec().
absl::StatusOr<TrainingOptions> OptionsOf(const std::map<std::string, std::string>& settings) {
  nlohmann::json json = {{"model", "-"},   {"train", "-"}, {"schedule", "constant"},
                         {"epochs", 1e6},  {"batch", 16},  {"max_gradient_norm", 0},
                         {"dropout", 0.0}, {"seed", 1}};
  for (const auto& [name, text] : settings) {
    const nlohmann::json value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    json[name] = value.is_discarded() ? nlohmann::json(text) : value;
  }
  ASSIGN_OR_RETURN(const FineTuningSpec spec, ParseFineTuningSpec(json));
  return spec.training;
}

void PrintPlan(const TrainingPlan& plan, const ComputeRates& rates) {
  std::cout << nlohmann::ordered_json{{"planned_step_seconds", EstimateSeconds(plan.cost, rates)},
                                      {"planned_peak_bytes", plan.peak_bytes},
                                      {"planned_heap_bytes", plan.memory.activations},
                                      {"active_layers", plan.active_layers},
                                      {"layers", plan.layers}}
            << std::endl;
}

// The rows of the embedding, the first parameter.
int64_t VocabularyOf(const ModelConfig& config) {
  return config.family->parameters(config).front().shape.front();
}

// The processor time of the process, in seconds.
double ProcessorSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Measures the computing time of a thread between the points of a step at which the executor can
// interrupt it: it reads the clock there. It is the processor time, which other load of the machine
// hardly changes. Used by one thread at a time.
class IntervalClock : public ExecutorClock {
 public:
  explicit IntervalClock(int64_t threads) : threads_(threads) {}

  Time Now() override {
    const double now = ProcessorSeconds();
    intervals_.push_back((now - last_) / static_cast<double>(threads_));
    last_ = now;
    return std::chrono::steady_clock::now();
  }
  void WaitUntil(CondVar& changed, Mutex& mutex, Time deadline) override {
    changed.WaitUntil(mutex, deadline);
  }
  void Reset() { intervals_.clear(); }
  // The interval that a part of the time is not beyond.
  double Quantile(double part) {
    std::ranges::sort(intervals_);
    double left = part * std::accumulate(intervals_.begin(), intervals_.end(), 0.0);
    for (const double interval : intervals_) {
      if ((left -= interval) <= 0) return interval;
    }
    return intervals_.empty() ? 0 : intervals_.back();
  }

 private:
  const int64_t threads_;
  double last_ = 0;
  std::vector<double> intervals_;
};

void PrintStep(const Trainer& trainer, const Ledger& ledger, int64_t idle_bytes,
               IntervalClock& clock) {
  const TrainingMemory memory = trainer.memory();
  const StepRecord& record = trainer.log().steps.back();
  std::cout << nlohmann::ordered_json{{"step_seconds", record.seconds},
                                      {"loss", record.loss},
                                      {"interval_seconds_half", clock.Quantile(0.5)},
                                      {"interval_seconds_99_percent", clock.Quantile(0.99)},
                                      {"interval_seconds_longest", clock.Quantile(1)},
                                      {"active_layers", std::ranges::count(record.active, true)},
                                      {"product_flops", trainer.step_cost().product_flops},
                                      {"rss_growth_bytes", ProcessBytes("VmHWM") - idle_bytes},
                                      {"ledger_peak_bytes", ledger.peak()},
                                      {"step_heap_bytes", record.heap_bytes},
                                      {"heap_bytes", memory.activations},
                                      {"gradient_bytes", memory.gradients},
                                      {"parameter_bytes", memory.parameters},
                                      {"moment_bytes", memory.moments}}
            << std::endl;
}

// What is measured, beside the job's settings.
struct Measurement {
  int64_t length = 256, steps = 2, warmup = 1, threads = 2;
  bool plan = false;
};

absl::Status MeasureSteps(const std::string& config_file, const Measurement& what,
                          const std::map<std::string, std::string>& settings) {
  ASSIGN_OR_RETURN(const TrainingOptions options, OptionsOf(settings));
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(config_file));
  ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(text));
  IntervalClock clock(what.threads);
  Executor executor(static_cast<int>(what.threads), {.clock = &clock});
  Ledger ledger;
  const int64_t idle_bytes = ProcessBytes("VmRSS");
  RandomBatches batches(options.batch_size, what.length, VocabularyOf(config));
  if (what.plan) {
    PlannedRun run;
    run.config = &config;
    run.options = options;
    run.training = batches.Largest();
    ASSIGN_OR_RETURN(const TrainingPlan plan, PlanTraining(run));
    PrintPlan(plan, MeasureRates(executor, RateShape::Of(run)));
  }
  ASSIGN_OR_RETURN(
      const auto model,
      TrainableModel::Fresh(config, {.arithmetic = options.arithmetic, .dropout = options.dropout},
                            ledger));
  ASSIGN_OR_RETURN(const auto trainer,
                   Trainer::Create(model.get(), &batches, options, {&executor, &ledger}));
  for (int64_t step = 0; step < what.warmup + what.steps; ++step) {
    clock.Reset();
    RETURN_IF_ERROR(trainer->Step());
    if (step >= what.warmup) PrintStep(*trainer, ledger, idle_bytes, clock);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace whipsnake::engine

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: training_benchmark CONFIG [name=value ...]\n";
    return 2;
  }
  whipsnake::engine::Measurement what;
  std::map<std::string, std::string> settings;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    const std::string name = flag.substr(0, flag.find('='));
    const std::string value =
        flag.find('=') == std::string::npos ? "true" : flag.substr(flag.find('=') + 1);
    if (name == "length") {
      what.length = std::stoll(value);
    } else if (name == "steps") {
      what.steps = std::stoll(value);
    } else if (name == "warmup") {
      what.warmup = std::stoll(value);
    } else if (name == "threads") {
      what.threads = std::stoll(value);
    } else if (name == "plan") {
      what.plan = true;
    } else {
      settings[name] = value;
    }
  }
  const absl::Status status = whipsnake::engine::MeasureSteps(argv[1], what, settings);
  if (status.ok()) return 0;
  std::cerr << status << "\n";
  return 1;
}
