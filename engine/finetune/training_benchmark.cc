// Times training steps of a model with random weights, and measures their memory.
//
//   training_benchmark CONFIG [batch=16] [length=256] [steps=2] [warmup=1] [threads=2] [bf16]
//                      [checkpointing] [update_in_backward] [moments=keep|8bit|drop] [isa=...]
//
// A step is forward, backward and AdamW on random tokens with labels = inputs, without dropout, as
// in tests/oracles/bench_training.py. Prints one line of JSON for each measured step.
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>

#include "engine/base/files.h"
#include "engine/finetune/trainer.h"
#include "engine/models/config.h"
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

int Fail(const absl::Status& status) {
  std::cerr << status << "\n";
  return 1;
}

int Run(const std::string& config_file, std::map<std::string, std::string> flags) {
  const auto number = [&](const std::string& name, int64_t value) {
    return flags.contains(name) ? std::stoll(flags[name]) : value;
  };
  Executor executor(static_cast<int>(number("threads", 2)));
  Ledger ledger;
  const auto text = ReadTextFile(config_file);
  if (!text.ok()) return Fail(text.status());
  const auto config = ParseModelConfig(*text);
  if (!config.ok()) return Fail(config.status());
  const int64_t idle_bytes = ProcessBytes("VmRSS");

  TrainingOptions options;
  options.schedule = Schedule::kConstant;
  options.epochs = 1e6;
  options.batch_size = number("batch", 16);
  options.arithmetic = flags.contains("bf16") ? kernels::DType::kBF16 : kernels::DType::kF32;
  options.gradient_checkpointing = flags.contains("checkpointing");
  options.update_in_backward = flags.contains("update_in_backward");
  options.max_gradient_norm = 0;
  const auto moments = ParseMomentKind(flags.contains("moments") ? flags["moments"] : "keep");
  if (!moments.ok()) return Fail(moments.status());
  options.optimizer.moments = *moments;
  auto model =
      TrainableModel::Fresh(*config, {.arithmetic = options.arithmetic, .dropout = 0.0f}, ledger);
  if (!model.ok()) return Fail(model.status());
  RandomBatches batches(options.batch_size, number("length", 256),
                        (*model)->parameters().all().front().shape[0]);
  auto trainer = Trainer::Create(model->get(), &batches, options, {&executor, &ledger});
  if (!trainer.ok()) return Fail(trainer.status());
  const int64_t warmup = number("warmup", 1);
  for (int64_t step = 0; step < warmup + number("steps", 2); ++step) {
    if (absl::Status status = (*trainer)->Step(); !status.ok()) return Fail(status);
    if (step < warmup) continue;
    const TrainingMemory memory = (*trainer)->memory();
    std::cout << nlohmann::ordered_json{{"step_seconds", (*trainer)->log().steps.back().seconds},
                                        {"loss", (*trainer)->log().steps.back().loss},
                                        {"rss_growth_bytes", ProcessBytes("VmHWM") - idle_bytes},
                                        {"ledger_peak_bytes", ledger.peak()},
                                        {"heap_bytes", memory.activations},
                                        {"gradient_bytes", memory.gradients},
                                        {"parameter_bytes", memory.parameters},
                                        {"moment_bytes", memory.moments}}
              << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace whipsnake::engine

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: training_benchmark CONFIG [name=value ...]\n";
    return 2;
  }
  std::map<std::string, std::string> flags;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    flags[flag.substr(0, flag.find('='))] = flag.substr(flag.find('=') + 1);
  }
  return whipsnake::engine::Run(argv[1], flags);
}
