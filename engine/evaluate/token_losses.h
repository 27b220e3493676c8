// The losses of tokens that a language model predicts.
#ifndef WHIPSNAKE_ENGINE_EVALUATE_TOKEN_LOSSES_H_
#define WHIPSNAKE_ENGINE_EVALUATE_TOKEN_LOSSES_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/evaluate/sequence_logits.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// A sequence whose tokens from `first_predicted` on are predicted, each from all tokens before it.
struct PredictedSequence {
  std::span<const int32_t> tokens;
  int64_t first_predicted = 1;  // at least 1, because the first token has no context
};

struct TokenLossOptions {
  // Ids from this one on have no probability: KnownTokens() of the model and its tokenizer.
  int64_t known_tokens = 0;
  int64_t max_logits_bytes = kDefaultLogitsBytes;
  // Priority of the sums over the logits; the model has its own.
  Priority priority = Priority::kPrefill;
};

// Returns INVALID_ARGUMENT, about the field "text", unless all ids are in [0, known_tokens).
absl::Status CheckTokens(std::span<const int32_t> tokens, int64_t known_tokens);

// Returns, for each sequence, the sum of -ln p over its predicted tokens, with p as in the logprobs
// of a response; 0 if it predicts none. Sums are in token order, so they do not depend on the
// number of threads. `progress`, which may be null, is called on the calling thread after each
// pass with the number of tokens that it predicted. Returns an error of CheckTokens before anything
// runs, errors as from ComputeLogits, and INTERNAL if a loss is infinite or NaN.
absl::StatusOr<std::vector<double>> SumTokenLosses(
    Model& model, Executor& executor, std::span<const PredictedSequence> sequences,
    const TokenLossOptions& options, const std::function<void(int64_t)>& progress = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_EVALUATE_TOKEN_LOSSES_H_
