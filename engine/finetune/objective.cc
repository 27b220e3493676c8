#include "engine/finetune/objective.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/status.h"
#include "engine/finetune/dpo_loss.h"
#include "engine/finetune/head_loss.h"
#include "engine/finetune/token_rows.h"
#include "engine/layers/training/write_zeros.h"

namespace whipsnake::engine {
namespace {

// The predicted tokens of a sequence: each follows a row. The prompt's tokens are not predicted.
int64_t FirstPredicted(int64_t prompt_tokens) { return std::max<int64_t>(prompt_tokens, 1); }

HeadTargets NextTokens(const TokenRows& rows) {
  HeadTargets targets;
  for (size_t s = 0; s < rows.sequences.size(); ++s) {
    const auto [begin, length] = rows.sequences[s];
    for (int64_t i = FirstPredicted(rows.prompt_tokens[s]); i < length; ++i) {
      targets.Add(begin + i - 1, rows.tokens[begin + i]);
    }
  }
  return targets;
}

// Runs a batch through a model, forward and, if wanted, backward.
class BatchPass {
 public:
  BatchPass(TrainingPass& pass, const TrainableModel& model, std::span<const Example> examples)
      : pass_(pass), model_(model), rows_(examples) {
    pass_.sequences = rows_.sequences;
    pass_.arithmetic = model.arithmetic();
  }

  bool backward() const { return pass_.gradients != nullptr; }
  const TokenRows& rows() const { return rows_; }

  absl::Status Forward() {
    ASSIGN_OR_RETURN(u_, model_.Forward(pass_, rows_.tokens));
    return absl::OkStatus();
  }
  absl::StatusOr<HeadLosses> Losses(const HeadTargets& targets, float smoothing) const {
    return ComputeLosses(pass_, model_.head(), u_, targets, smoothing);
  }
  // Ends the pass: u is freed.
  absl::StatusOr<HeadLosses> LossesAndBackward(const HeadTargets& targets, float smoothing,
                                               std::span<const float> factors) {
    Tensor gu;
    ASSIGN_OR_RETURN(HeadLosses losses, ComputeLossesAndGradients(pass_, model_.head(), u_, targets,
                                                                  smoothing, factors, &gu));
    u_ = Tensor();
    RETURN_IF_ERROR(model_.Backward(pass_, rows_.tokens, std::move(gu)));
    return losses;
  }
  // The losses of `targets`, and the backward pass for their sum times `factor` if it is wanted.
  absl::StatusOr<HeadLosses> Finish(const HeadTargets& targets, float smoothing, double factor) {
    if (!backward()) return Losses(targets, smoothing);
    return LossesAndBackward(targets, smoothing,
                             std::vector<float>(targets.size(), static_cast<float>(factor)));
  }

  TrainingPass& pass() { return pass_; }
  const TrainableModel& model() const { return model_; }
  Tensor& u() { return u_; }

 private:
  TrainingPass& pass_;
  const TrainableModel& model_;
  const TokenRows rows_;
  Tensor u_;  // the head's inputs
};

// Adds losses of which each has the same weight.
void AddTo(Metrics& metrics, const HeadTargets& targets, const HeadLosses& losses) {
  metrics.targets += targets.size();
  for (int64_t i = 0; i < targets.size(); ++i) {
    metrics.loss += losses.losses[i];
    metrics.correct += losses.predictions[i] == targets.targets[i] ? 1 : 0;
  }
}

// The sums of the losses of each sequence.
std::vector<double> LogProbabilities(const TokenRows& rows, const HeadLosses& losses) {
  std::vector<double> sums;
  auto loss = losses.losses.begin();
  for (size_t s = 0; s < rows.sequences.size(); ++s) {
    double& sum = sums.emplace_back(0);
    for (int64_t i = FirstPredicted(rows.prompt_tokens[s]); i < rows.sequences[s].length; ++i) {
      sum -= *loss++;
    }
  }
  return sums;
}

class CausalLm : public Objective {
 public:
  explicit CausalLm(float smoothing) : smoothing_(smoothing) {}

  int64_t Targets(std::span<const Example> examples) const override {
    int64_t targets = 0;
    for (const Example& example : examples) {
      for (const auto& sequence : example.sequences) {
        targets +=
            std::max<int64_t>(std::ssize(sequence) - FirstPredicted(example.prompt_tokens), 0);
      }
    }
    return targets;
  }

  absl::Status Run(TrainingPass& pass, const TrainableModel& model, const TrainingBatch& batch,
                   double factor, Metrics& metrics) const override {
    BatchPass run(pass, model, batch.examples);
    RETURN_IF_ERROR(run.Forward());
    const HeadTargets targets = NextTokens(run.rows());
    ASSIGN_OR_RETURN(const HeadLosses losses, run.Finish(targets, smoothing_, factor));
    AddTo(metrics, targets, losses);
    metrics.tokens += std::ssize(run.rows().tokens);
    return absl::OkStatus();
  }

 private:
  const float smoothing_;
};

class Classification : public Objective {
 public:
  explicit Classification(float smoothing) : smoothing_(smoothing) {}

  int64_t Targets(std::span<const Example> examples) const override { return std::ssize(examples); }

  absl::Status Run(TrainingPass& pass, const TrainableModel& model, const TrainingBatch& batch,
                   double factor, Metrics& metrics) const override {
    BatchPass run(pass, model, batch.examples);
    RETURN_IF_ERROR(run.Forward());
    HeadTargets targets;
    for (size_t i = 0; i < batch.examples.size(); ++i) {
      const auto [begin, length] = run.rows().sequences[i];
      targets.Add(begin + length - 1, batch.examples[i].label);
    }
    ASSIGN_OR_RETURN(const HeadLosses losses, run.Finish(targets, smoothing_, factor));
    AddTo(metrics, targets, losses);
    metrics.tokens += std::ssize(run.rows().tokens);
    return absl::OkStatus();
  }

 private:
  const float smoothing_;
};

class Regression : public Objective {
 public:
  int64_t Targets(std::span<const Example> examples) const override { return std::ssize(examples); }

  absl::Status Run(TrainingPass& pass, const TrainableModel& model, const TrainingBatch& batch,
                   double factor, Metrics& metrics) const override;
};

absl::Status Regression::Run(TrainingPass& pass, const TrainableModel& model,
                             const TrainingBatch& batch, double factor, Metrics& metrics) const {
  BatchPass run(pass, model, batch.examples);
  RETURN_IF_ERROR(run.Forward());
  const int64_t count = std::ssize(batch.examples), d = run.u().view().cols;
  ASSIGN_OR_RETURN(const Tensor inputs, pass.New(count, d));
  ASSIGN_OR_RETURN(const Tensor outputs, pass.New(count, 1));
  const auto last_row = [&](int64_t i) {
    const auto [begin, length] = run.rows().sequences[i];
    return begin + length - 1;
  };
  pass.Compute(PassCost::Numbers(2 * inputs.elements()), [&] {
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(run.u().view().row(last_row(i)), d, inputs.view().row(i));
    }
  });
  model.head().Multiply(pass, *inputs, *outputs);
  metrics.targets += count;
  metrics.tokens += std::ssize(run.rows().tokens);
  pass.Compute(PassCost::Numbers(count), [&] {
    for (int64_t i = 0; i < count; ++i) {
      float& output = outputs.data()[i];
      const double error = static_cast<double>(output) - batch.examples[i].value;
      metrics.loss += error * error;
      output = static_cast<float>(2 * error * factor);  // from here on the derivative
    }
  });
  if (!run.backward()) return absl::OkStatus();

  RETURN_IF_ERROR(model.head().AddGradients(pass, *inputs, *outputs));
  Tensor gu;
  if (pass.GoesBelow(model.head().layer())) {
    ASSIGN_OR_RETURN(gu, pass.New(run.u().rows(), d));
    model.head().MultiplyBackward(pass, *outputs, *inputs);
    pass.Compute(PassCost::Numbers(gu.elements()), [&] {
      WriteZeros(pass.context, gu.data(), gu.elements());
      for (int64_t i = 0; i < count; ++i) {
        std::copy_n(inputs.view().row(i), d, gu.view().row(last_row(i)));
      }
    });
  }
  RETURN_IF_ERROR(model.head().AddedGradients(pass));
  run.u() = Tensor();
  return model.Backward(pass, run.rows().tokens, std::move(gu));
}

class Dpo : public Objective {
 public:
  explicit Dpo(float beta) : beta_(beta) {}

  int64_t Targets(std::span<const Example> examples) const override { return std::ssize(examples); }

  absl::Status Run(TrainingPass& pass, const TrainableModel& model, const TrainingBatch& batch,
                   double factor, Metrics& metrics) const override;

 private:
  const double beta_;
};

absl::Status Dpo::Run(TrainingPass& pass, const TrainableModel& model, const TrainingBatch& batch,
                      double factor, Metrics& metrics) const {
  BatchPass run(pass, model, batch.examples);
  RETURN_IF_ERROR(run.Forward());
  const HeadTargets targets = NextTokens(run.rows());
  ASSIGN_OR_RETURN(const HeadLosses losses, run.Losses(targets, /*smoothing=*/0));
  const std::vector<double> sums = LogProbabilities(run.rows(), losses);
  metrics.targets += std::ssize(batch.examples);
  metrics.tokens += std::ssize(run.rows().tokens);
  // The derivative of the loss for each sequence's s; the loss of a token is the negative of its
  // part.
  std::vector<float> factors;
  for (size_t pair = 0; pair < batch.examples.size(); ++pair) {
    const DpoLoss loss = ComputeDpoLoss({.chosen = sums[2 * pair],
                                         .rejected = sums[2 * pair + 1],
                                         .reference_chosen = batch.reference[2 * pair],
                                         .reference_rejected = batch.reference[2 * pair + 1]},
                                        beta_);
    metrics.loss += loss.loss;
    metrics.correct += loss.margin > 0 ? 1 : 0;
    metrics.margin += loss.margin;
    const double weight = -factor * loss.derivative;
    for (size_t s = 2 * pair; s < 2 * pair + 2; ++s) {
      const int64_t tokens = std::max<int64_t>(
          run.rows().sequences[s].length - FirstPredicted(run.rows().prompt_tokens[s]), 0);
      factors.insert(factors.end(), tokens, static_cast<float>(s == 2 * pair ? weight : -weight));
    }
  }
  if (!run.backward()) return absl::OkStatus();
  return run.LossesAndBackward(targets, /*smoothing=*/0, factors).status();
}

}  // namespace

std::unique_ptr<Objective> MakeObjective(Task task, const ObjectiveOptions& options) {
  switch (task) {
    case Task::kCausalLm:
      return std::make_unique<CausalLm>(options.label_smoothing);
    case Task::kClassification:
      return std::make_unique<Classification>(options.label_smoothing);
    case Task::kRegression:
      return std::make_unique<Regression>();
    case Task::kDpo:
      return std::make_unique<Dpo>(options.dpo_beta);
    case Task::kChoice:  // only evaluated
      return nullptr;
  }
  return nullptr;
}

absl::StatusOr<std::vector<double>> ResponseLogProbabilities(TrainingPass& pass,
                                                             const TrainableModel& model,
                                                             std::span<const Example> examples) {
  BatchPass run(pass, model, examples);
  RETURN_IF_ERROR(run.Forward());
  const HeadTargets targets = NextTokens(run.rows());
  ASSIGN_OR_RETURN(const HeadLosses losses, run.Losses(targets, /*smoothing=*/0));
  return LogProbabilities(run.rows(), losses);
}

}  // namespace whipsnake::engine
