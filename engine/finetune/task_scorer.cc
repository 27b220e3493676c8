#include "engine/finetune/task_scorer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/base/status.h"
#include "engine/evaluate/sequence_logits.h"
#include "engine/evaluate/token_losses.h"
#include "engine/models/logits.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {
namespace {

using OutputsReceiver = std::function<void(const Example& example, std::span<const float> outputs)>;

// Calls `receive` with a classifier's outputs for each text, those of its last token.
absl::Status ForEachText(Model& model, std::span<const Example> examples, int64_t max_logits_bytes,
                         const OutputsReceiver& receive) {
  std::vector<FedSequence> texts;
  for (const Example& example : examples) {
    const std::vector<int32_t>& text = example.sequences.front();
    texts.push_back({text, std::ssize(text) - 1});
  }
  return ComputeLogits(
      model, texts, max_logits_bytes,
      [&](kernels::MatrixView<const float> logits, std::span<const LogitsPlace> places) {
        for (size_t r = 0; r < places.size(); ++r) {
          const std::span<const float> outputs(logits.row(static_cast<int64_t>(r)), logits.cols);
          if (!std::ranges::all_of(outputs, [](float x) { return std::isfinite(x); })) {
            return absl::InternalError("the model's outputs are not finite numbers");
          }
          receive(examples[places[r].sequence], outputs);
        }
        return absl::OkStatus();
      });
}

class ClassificationScorer : public TaskScorer {
 public:
  ClassificationScorer(Model& model, int64_t max_logits_bytes)
      : model_(model), max_logits_bytes_(max_logits_bytes), confusion_(model.info().labels) {}

  absl::Status Add(std::span<const Example> examples) override {
    return ForEachText(model_, examples, max_logits_bytes_,
                       [&](const Example& example, std::span<const float> outputs) {
                         const auto best = std::ranges::max_element(outputs) - outputs.begin();
                         confusion_.Add(example.label, static_cast<int32_t>(best));
                         loss_ += LogNormalizer(outputs, scratch_) - outputs[example.label];
                       });
  }

  void SetScores(TaskResult& result) const override {
    result.loss = loss_ / static_cast<double>(confusion_.rows());
    result.accuracy = confusion_.Accuracy();
    result.confusion = confusion_;
  }

 private:
  Model& model_;
  const int64_t max_logits_bytes_;
  Confusion confusion_;
  double loss_ = 0;
  std::vector<float> scratch_;
};

class RegressionScorer : public TaskScorer {
 public:
  RegressionScorer(Model& model, int64_t max_logits_bytes)
      : model_(model), max_logits_bytes_(max_logits_bytes) {}

  absl::Status Add(std::span<const Example> examples) override {
    return ForEachText(model_, examples, max_logits_bytes_,
                       [&](const Example& example, std::span<const float> outputs) {
                         errors_.Add(outputs.front(), example.value);
                       });
  }

  void SetScores(TaskResult& result) const override {
    result.loss = errors_.MeanSquaredError();
    result.errors = errors_;
  }

 private:
  Model& model_;
  const int64_t max_logits_bytes_;
  RegressionErrors errors_;
};

// What a model runs responses with.
struct ResponseRunner {
  Executor& executor;
  const TaskEvaluationOptions& options;

  // The sum of log p over the response's tokens, for each sequence of each example.
  absl::StatusOr<std::vector<double>> LogProbabilities(Model& model,
                                                       std::span<const Example> examples) const;
};

absl::StatusOr<std::vector<double>> ResponseRunner::LogProbabilities(
    Model& model, std::span<const Example> examples) const {
  std::vector<PredictedSequence> sequences;
  for (const Example& example : examples) {
    for (const std::vector<int32_t>& sequence : example.sequences) {
      sequences.push_back({sequence, std::max<int64_t>(example.prompt_tokens, 1)});
    }
  }
  const int64_t vocabulary = model.info().vocab_size;
  const TokenLossOptions loss_options{
      .known_tokens = options.tokenizer_size > 0 ? KnownTokens(model.info(), options.tokenizer_size)
                                                 : vocabulary,
      .max_logits_bytes = options.max_logits_bytes,
      .priority = options.priority};
  ASSIGN_OR_RETURN(std::vector<double> sums,
                   SumTokenLosses(model, executor, sequences, loss_options));
  for (double& sum : sums) sum = -sum;
  return sums;
}

class ChoiceScorer : public TaskScorer {
 public:
  ChoiceScorer(Model& model, const ResponseRunner& runner) : model_(model), runner_(runner) {}

  absl::Status Add(std::span<const Example> examples) override {
    ASSIGN_OR_RETURN(const std::vector<double> sums, runner_.LogProbabilities(model_, examples));
    auto sum = sums.begin();
    for (const Example& example : examples) {
      std::vector<double> means;  // of the choices' tokens
      for (const std::vector<int32_t>& sequence : example.sequences) {
        const int64_t tokens = std::ssize(sequence) - example.prompt_tokens;
        means.push_back(*sum++ / static_cast<double>(tokens));
      }
      AddChoices(means, example.label);
    }
    return absl::OkStatus();
  }

  void SetScores(TaskResult& result) const override {
    result.loss = loss_ / static_cast<double>(rows_);
    result.accuracy = static_cast<double>(correct_) / static_cast<double>(rows_);
  }

 private:
  void AddChoices(const std::vector<double>& means, int32_t label) {
    const auto best = std::ranges::max_element(means);
    double normalizer = 0;
    for (const double mean : means) normalizer += std::exp(mean - *best);
    ++rows_;
    loss_ += *best + std::log(normalizer) - means[label];
    correct_ += best - means.begin() == label ? 1 : 0;
  }

  Model& model_;
  const ResponseRunner runner_;
  int64_t rows_ = 0, correct_ = 0;
  double loss_ = 0;
};

// Sums over pairs.
struct PairSums {
  double chosen = 0, rejected = 0;

  Preferences::Pair Mean(int64_t pairs) const {
    return {chosen / static_cast<double>(pairs), rejected / static_cast<double>(pairs)};
  }
};

class PreferenceScorer : public TaskScorer {
 public:
  PreferenceScorer(Model& model, const ResponseRunner& runner) : model_(model), runner_(runner) {}

  absl::Status Add(std::span<const Example> examples) override {
    ASSIGN_OR_RETURN(const std::vector<double> sums, runner_.LogProbabilities(model_, examples));
    std::vector<double> reference(sums.size());
    if (options().reference != nullptr) {
      ASSIGN_OR_RETURN(reference, runner_.LogProbabilities(*options().reference, examples));
    }
    for (size_t i = 0; i < sums.size(); i += 2) {
      log_probabilities_.chosen += sums[i];
      log_probabilities_.rejected += sums[i + 1];
      AddRewards(options().dpo_beta * (sums[i] - reference[i]),
                 options().dpo_beta * (sums[i + 1] - reference[i + 1]));
    }
    return absl::OkStatus();
  }

  void SetScores(TaskResult& result) const override {
    result.accuracy = static_cast<double>(correct_) / static_cast<double>(pairs_);
    result.preferences = {.log_probabilities = log_probabilities_.Mean(pairs_), .rewards = {}};
    if (options().reference == nullptr) return;
    result.preferences->rewards = rewards_.Mean(pairs_);
    result.loss = loss_ / static_cast<double>(pairs_);
  }

 private:
  const TaskEvaluationOptions& options() const { return runner_.options; }

  // Without a reference model, rewards are β s, which have the same order as s.
  void AddRewards(double chosen, double rejected) {
    ++pairs_;
    rewards_.chosen += chosen;
    rewards_.rejected += rejected;
    correct_ += chosen > rejected ? 1 : 0;
    const double margin = chosen - rejected;
    // -log σ(margin), without overflow for any margin
    loss_ += std::max(-margin, 0.0) + std::log1p(std::exp(-std::abs(margin)));
  }

  Model& model_;
  const ResponseRunner runner_;
  int64_t pairs_ = 0, correct_ = 0;
  PairSums log_probabilities_, rewards_;
  double loss_ = 0;
};

}  // namespace

std::unique_ptr<TaskScorer> MakeTaskScorer(Task task, Model& model, Executor& executor,
                                           const TaskEvaluationOptions& options) {
  const ResponseRunner runner{executor, options};
  switch (task) {
    case Task::kClassification:
      return std::make_unique<ClassificationScorer>(model, options.max_logits_bytes);
    case Task::kRegression:
      return std::make_unique<RegressionScorer>(model, options.max_logits_bytes);
    case Task::kChoice:
      return std::make_unique<ChoiceScorer>(model, runner);
    case Task::kDpo:
      return std::make_unique<PreferenceScorer>(model, runner);
    case Task::kCausalLm:
      break;
  }
  return nullptr;
}

}  // namespace whipsnake::engine
