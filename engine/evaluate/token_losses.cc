#include "engine/evaluate/token_losses.h"

#include <cmath>

#include "engine/base/status.h"
#include "engine/models/logits.h"
#include "kernels/cpu/parallel.h"

namespace whipsnake::engine {
namespace {

// Returns -ln p(targets[r]) of each row.
absl::StatusOr<std::vector<double>> RowLosses(Executor& executor,
                                              kernels::MatrixView<const float> logits,
                                              std::span<const int32_t> targets,
                                              const TokenLossOptions& options) {
  std::vector<double> losses(targets.size());
  RETURN_IF_ERROR(executor.TryRun(options.priority, [&](const kernels::Context& context) {
    const int threads = kernels::Threads(context);
    kernels::ForEachShare(context, [&](const kernels::Context&, int64_t share) {
      std::vector<float> scratch;
      for (int64_t r = share; r < std::ssize(targets); r += threads) {
        const std::span<const float> row(logits.row(r), options.known_tokens);
        losses[r] = LogNormalizer(row, scratch) - row[targets[r]];
      }
    });
  }));
  return losses;
}

}  // namespace

absl::Status CheckTokens(std::span<const int32_t> tokens, int64_t known_tokens) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= known_tokens) {
      return InvalidField("text", absl::StrCat("token ", token),
                          absl::StrCat("ids below the model's vocabulary of ", known_tokens));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> SumTokenLosses(Model& model, Executor& executor,
                                                   std::span<const PredictedSequence> sequences,
                                                   const TokenLossOptions& options,
                                                   const std::function<void(int64_t)>& progress) {
  std::vector<FedSequence> fed;
  std::vector<int64_t> origins;  // of what is fed, in `sequences`
  for (int64_t s = 0; s < std::ssize(sequences); ++s) {
    const auto& [tokens, first_predicted] = sequences[s];
    RETURN_IF_ERROR(CheckTokens(tokens, options.known_tokens));
    if (first_predicted >= std::ssize(tokens)) continue;
    fed.push_back({tokens.first(tokens.size() - 1), first_predicted - 1});
    origins.push_back(s);
  }
  std::vector<double> sums(sequences.size());
  const auto add = [&](kernels::MatrixView<const float> logits,
                       std::span<const LogitsPlace> places) -> absl::Status {
    std::vector<int32_t> targets;
    for (const auto& [sequence, position] : places) {
      targets.push_back(sequences[origins[sequence]].tokens[position + 1]);
    }
    ASSIGN_OR_RETURN(const std::vector<double> losses,
                     RowLosses(executor, logits, targets, options));
    for (size_t r = 0; r < losses.size(); ++r) {
      if (!std::isfinite(losses[r])) {
        return absl::InternalError("the model's logits are not finite numbers");
      }
      sums[origins[places[r].sequence]] += losses[r];
    }
    if (progress) progress(std::ssize(places));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ComputeLogits(model, fed, options.max_logits_bytes, add));
  return sums;
}

}  // namespace whipsnake::engine
