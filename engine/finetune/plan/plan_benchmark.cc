// Compares the time that a plan predicts for a training step with the time that a step takes.
//
//   plan_benchmark CONFIG [batch=4] [length=256] [rounds=5] [threads=2] [isa=...]
//
// For each of several settings: in each round, the rates of the machine are measured and a step is
// taken, so that other work on the machine slows both. Prints one line of JSON for each setting,
// with the medians of the rounds and the peaks of memory; the parts are
// seconds of the prediction.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/finetune/plan/measure_rates.h"
#include "engine/finetune/plan/training_plan.h"
#include "engine/finetune/trainer.h"
#include "engine/models/config.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {
namespace {

class OneBatch : public BatchSource {
 public:
  explicit OneBatch(TrainingBatch batch) : batch_(std::move(batch)) {}
  int64_t batches() const override { return 1; }
  TrainingBatch Largest() const override { return batch_; }
  absl::StatusOr<TrainingBatch> Read(int64_t, int64_t) override { return batch_; }

 private:
  const TrainingBatch batch_;
};

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double Seconds(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Setting {
  const char* name;
  TrainingOptions options;
};

std::vector<Setting> Settings() {
  TrainingOptions full;
  full.schedule = Schedule::kConstant;
  full.epochs = 1e6;
  full.max_gradient_norm = 0;
  full.dropout = 0.0f;
  TrainingOptions checkpointing = full;
  checkpointing.gradient_checkpointing = true;
  TrainingOptions slimfit = full;
  slimfit.freezing = *Resolve({.scheduler = SchedulerKind::kSlimFit, .rate = 0.95});
  slimfit.compression = Compression::kDefault;
  return {{"full", full}, {"checkpointing", checkpointing}, {"slimfit 0.95", slimfit}};
}

absl::Status Compare(const ModelConfig& config, const Setting& setting, const TrainingBatch& batch,
                     int64_t rounds, Executor& executor) {
  Ledger ledger;
  ASSIGN_OR_RETURN(const auto model, TrainableModel::Fresh(config, {.dropout = 0.0f}, ledger));
  OneBatch batches(batch);
  ASSIGN_OR_RETURN(const auto trainer,
                   Trainer::Create(model.get(), &batches, setting.options, {&executor, &ledger}));
  PlannedRun run;
  run.config = &config;
  run.options = setting.options;
  run.training = batch;
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const TrainingPlan plan, PlanTraining(run));
  const double plan_seconds = Seconds(start);
  RETURN_IF_ERROR(trainer->Step());  // the first touches fresh memory
  std::vector<double> planned, measured, ratios, parts[4];
  for (int64_t round = 0; round < rounds; ++round) {
    const ComputeRates rates = MeasureRates(executor, RateShape::Of(run));
    RETURN_IF_ERROR(trainer->Step());
    // Where layers are chosen, a step differs from the mean of the plan: the ratio is the step's.
    const PassCost& cost = trainer->step_cost();
    planned.push_back(EstimateSeconds(plan.cost, rates));
    measured.push_back(trainer->log().steps.back().seconds);
    ratios.push_back(EstimateSeconds(cost, rates) / measured.back());
    parts[0].push_back(cost.product_flops / rates.product_flops);
    parts[1].push_back(cost.attention_flops / rates.attention_flops);
    parts[2].push_back(cost.scan_elements / rates.scan_elements);
    parts[3].push_back(cost.bytes / rates.bytes);
  }
  std::cout << nlohmann::ordered_json{{"setting", setting.name},
                                      {"planned_seconds", Median(planned)},
                                      {"step_seconds", Median(measured)},
                                      {"ratio", Median(ratios)},
                                      {"products", Median(parts[0])},
                                      {"attention", Median(parts[1])},
                                      {"scans", Median(parts[2])},
                                      {"others", Median(parts[3])},
                                      {"planned_peak_bytes", plan.peak_bytes},
                                      {"peak_bytes", ledger.peak()},
                                      {"plan_seconds", plan_seconds}}
            << std::endl;
  return absl::OkStatus();
}

absl::Status Run(const std::string& config_file, std::map<std::string, std::string> flags) {
  const auto number = [&](const std::string& name, int64_t value) {
    return flags.contains(name) ? std::stoll(flags[name]) : value;
  };
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(config_file));
  ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(text));
  Executor executor(static_cast<int>(number("threads", 2)));
  TrainingBatch batch;
  for (int64_t i = 0; i < number("batch", 4); ++i) {
    std::vector<int32_t>& tokens = batch.examples.emplace_back().sequences.emplace_back();
    for (int64_t t = 0; t < number("length", 256); ++t) {
      tokens.push_back(static_cast<int32_t>((i * 7919 + t * 104729) % 50000));
    }
  }
  const int64_t rounds = number("rounds", 5);
  for (Setting setting : Settings()) {
    setting.options.max_steps = rounds + 1;
    RETURN_IF_ERROR(Compare(config, setting, batch, rounds, executor));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace whipsnake::engine

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: plan_benchmark CONFIG [name=value ...]\n";
    return 2;
  }
  std::map<std::string, std::string> flags;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    flags[flag.substr(0, flag.find('='))] = flag.substr(flag.find('=') + 1);
  }
  const absl::Status status = whipsnake::engine::Run(argv[1], flags);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
