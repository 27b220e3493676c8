// Reports of runs that look real, for tests and for a look at the page.
#ifndef WHIPSNAKE_TESTS_ENGINE_FINETUNE_RUN_REPORT_SAMPLES_H_
#define WHIPSNAKE_TESTS_ENGINE_FINETUNE_RUN_REPORT_SAMPLES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>

#include "engine/finetune/learning_rate.h"
#include "engine/finetune/report/run_report.h"

namespace whipsnake::engine {

inline DatasetReport SampleData(const char* path, int64_t rows) {
  DatasetReport data;
  data.path = path;
  data.task = Task::kClassification;
  data.bytes = rows * 71;
  data.digest = "9f2b7c4410de83a5";
  data.good_rows = rows;
  data.tokens = rows * 19;
  data.lengths = {.shortest = 3,
                  .median = 16,
                  .percentile_95 = 41,
                  .longest = 88,
                  .histogram = {0, rows / 50, rows / 6, rows / 4, rows / 3, rows / 8, rows / 60}};
  data.max_length = 128;
  data.labels = {
      {"adjective", rows / 5}, {"adverb", rows / 24}, {"noun", rows / 2}, {"verb", rows / 4}};
  return data;
}

// A classifier over so many steps, evaluated every `evaluate_every` steps and before the first.
inline RunReport SampleReport(int64_t steps, int64_t evaluate_every) {
  RunReport report;
  report.version = "0.1.0";
  report.started = 1795711407;
  report.model = "gpt2-crrelu-demo";
  report.family = "gpt2";
  report.parameters = 4'612'352;
  report.fresh = {"score.weight"};
  report.dropped = {"lm_head.weight"};
  report.options.task = Task::kClassification;
  report.options.learning_rate = 3e-4;
  report.options.schedule = Schedule::kCosine;
  report.options.warmup = 0.1;
  report.options.evaluate_every = evaluate_every;
  report.training_data = SampleData("data/gloss-pos/train.jsonl", 8560);
  report.evaluation_data = SampleData("data/gloss-pos/test.jsonl", 1000);
  report.memory = {
      .activations = 190 << 20, .gradients = 18 << 20, .parameters = 18 << 20, .moments = 36 << 20};
  report.planned_peak_bytes = 262 << 20;
  report.peak_bytes = 251 << 20;

  std::minstd_rand random(7);
  const auto noise = [&random] {  // about normal
    double sum = 0;
    for (int i = 0; i < 6; ++i) sum += std::generate_canonical<double, 20>(random) - 0.5;
    return sum * 1.4;
  };
  const LearningRate rate{.schedule = report.options.schedule,
                          .rate = report.options.learning_rate,
                          .warmup_steps = steps / 10,
                          .steps = steps};
  const auto progress = [steps](int64_t step) {
    return 1 - std::exp(-5.0 * static_cast<double>(step) / static_cast<double>(steps));
  };
  const auto evaluate = [&](int64_t step) {
    const double p = progress(step);
    report.log.evaluations.push_back({.step = step,
                                      .loss = 1.31 - 0.78 * p + 0.01 * noise(),
                                      .accuracy = 0.41 + 0.43 * p + 0.004 * noise(),
                                      .targets = 1000,
                                      .seconds = 1.9});
  };
  evaluate(0);
  for (int64_t step = 1; step <= steps; ++step) {
    const double p = progress(step);
    StepRecord& record = report.log.steps.emplace_back();
    record = {
        .step = step,
        .epoch = 3 * static_cast<double>(step) / static_cast<double>(steps),
        .loss = (1.28 - 0.85 * p) * std::exp(0.22 * noise()),
        .accuracy = std::round(8 * std::clamp(0.42 + 0.45 * p + 0.14 * noise(), 0.0, 1.0)) / 8,
        .learning_rate = rate.At(step - 1),
        .gradient_norm = (2.4 - 1.7 * p) * std::exp(0.35 * noise()),
        .tokens = 152 + std::lround(20 * noise())};
    record.seconds = 0.148 * std::exp(0.05 * noise()) + (step % 97 == 40 ? 0.1 : 0);
    report.seconds += record.seconds;
    if (evaluate_every > 0 && step % evaluate_every == 0) evaluate(step);
  }
  return report;
}

// Lets about a tenth of so many layers train in each step of a report, in blocks of six between an
// embedding and a head, with the bytes that they take.
inline void AddFreezing(int64_t layers, RunReport& report) {
  constexpr const char* kNames[] = {"ln_1", "attn.c_attn", "attn.c_proj",
                                    "ln_2", "mlp.c_fc",    "mlp.c_proj"};
  for (int64_t i = 0; i < layers; ++i) {
    ScheduledLayer& layer = report.layers.emplace_back();
    if (i > 0 && i < layers - 1) layer.block = (i - 1) / 6;
    layer.name = i == 0 ? "transformer.wte"
                 : layer.block < 0
                     ? "transformer.ln_f"
                     : "transformer.h." + std::to_string(layer.block) + "." + kNames[(i - 1) % 6];
  }
  std::minstd_rand random(11);
  const auto bytes = [&](StepRecord& step, TensorClass tensor_class, int64_t count) {
    step.class_bytes[static_cast<int>(tensor_class)] = count;
    step.heap_bytes += count * 9 / 10;
  };
  for (StepRecord& step : report.log.steps) {
    for (int64_t i = 0; i < layers; ++i)
      step.active.push_back(random() % 10 < (i % 6 == 3 ? 4 : 1));
    const int64_t active = std::ranges::count(step.active, true);
    const int64_t part = (int64_t{60} << 20) * active / layers;
    bytes(step, TensorClass::kTransient, 30 << 20);
    bytes(step, TensorClass::kNormInput, 6 << 20);
    bytes(step, TensorClass::kAttention, 24 << 20);
    bytes(step, TensorClass::kActivationInput, 9 << 20);
    bytes(step, TensorClass::kProductInput, part);
    bytes(step, TensorClass::kInnerProductInput, 2 * part);
    bytes(step, TensorClass::kGradient, part + (4 << 20));
  }
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_FINETUNE_RUN_REPORT_SAMPLES_H_
