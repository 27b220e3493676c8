// What a model is trained for: the loss of a batch and its derivative.
//
//   causal-lm       -log p(next token), the mean over all predicted tokens
//   classification  -log p(label), from the last token of each text; the mean over texts
//   regression      (output - value)², from the last token of each text; the mean over texts
//   dpo             -log σ(β Δ), the mean over pairs (Rafailov et al., arXiv 2305.18290), where
//                   Δ = [s(chosen) - s_ref(chosen)] - [s(rejected) - s_ref(rejected)] and s is the
//                   sum of log p over the response's tokens
#ifndef WHIPSNAKE_ENGINE_FINETUNE_OBJECTIVE_H_
#define WHIPSNAKE_ENGINE_FINETUNE_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/finetune/data/examples.h"
#include "engine/finetune/data/task.h"
#include "engine/layers/training/training_pass.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {

// Sums over the targets of some batches. A target is a predicted token, a text or a pair.
struct Metrics {
  int64_t targets = 0;
  int64_t tokens = 0;  // that went through the model
  double loss = 0;
  // Classification: right answers; DPO: pairs whose chosen response has the larger
  // reward; causal-lm: tokens that were the most likely ones.
  double correct = 0;
  double margin = 0;  // DPO: of the rewards β (s - s_ref)

  double MeanLoss() const { return Mean(loss); }
  double Accuracy() const { return Mean(correct); }
  double MeanMargin() const { return Mean(margin); }

 private:
  double Mean(double sum) const { return targets == 0 ? 0 : sum / static_cast<double>(targets); }
};

struct TrainingBatch {
  std::vector<Example> examples;
  // DPO: the reference model's s of each example's sequences, two per example.
  std::vector<double> reference;

  int64_t tokens() const {
    int64_t sum = 0;
    for (const Example& example : examples) sum += example.tokens();
    return sum;
  }
};

struct ObjectiveOptions {
  float label_smoothing = 0;  // of causal-lm and classification, in [0,1)
  float dpo_beta = 0.1f;      // β
};

// Immutable.
class Objective {
 public:
  virtual ~Objective() = default;

  // The targets of the examples.
  virtual int64_t Targets(std::span<const Example> examples) const = 0;

  // Runs the model's forward pass and adds the sums to `metrics`. If the pass has gradients, also
  // runs the backward pass, for the sum of the losses times `factor`.
  virtual absl::Status Run(TrainingPass& pass, const TrainableModel& model,
                           const TrainingBatch& batch, double factor, Metrics& metrics) const = 0;
};

// Null for kChoice, on which models are evaluated (task_evaluation.h) but not trained.
std::unique_ptr<Objective> MakeObjective(Task task, const ObjectiveOptions& options);

// The sum of log p over the responses' tokens, for each sequence of each example: s of DPO.
absl::StatusOr<std::vector<double>> ResponseLogProbabilities(TrainingPass& pass,
                                                             const TrainableModel& model,
                                                             std::span<const Example> examples);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_OBJECTIVE_H_
