// How well a language model predicts a text.
#ifndef WHIPSNAKE_ENGINE_EVALUATE_PERPLEXITY_H_
#define WHIPSNAKE_ENGINE_EVALUATE_PERPLEXITY_H_

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

struct PerplexityOptions {
  // Tokens of a window, at least 2. The windows do not overlap, each starts from an empty state,
  // and the last may be shorter.
  int64_t window = 2048;
  // Ids from here on are padding of the model's vocabulary and have no probability: KnownTokens()
  // of the model and its tokenizer. 0: the model has no padding.
  int64_t known_tokens = 0;
  // Bounds the logits that one forward pass makes. Short windows are run side by side up to this,
  // long ones in several passes; the result does not depend on it beyond the rounding of float
  // products.
  int64_t max_logits_bytes = int64_t{64} << 20;
  // Of the sums over the logits; the model has its own.
  Priority priority = Priority::kPrefill;
};

struct Perplexity {
  int64_t tokens = 0;
  // A window of n tokens predicts n - 1: nothing predicts its first.
  int64_t predicted = 0;
  // Mean over the predicted tokens of -ln p(token | the window up to it), with p as in the logprobs
  // of a response.
  double nll = 0;

  double perplexity() const;  // e^nll
};

// The window to use where none is asked for: 2048, or the model's positions if those are fewer.
int64_t DefaultWindow(const ModelInfo& info);

// Evaluates `model`, whose executor is `executor`, on `tokens`. INVALID_ARGUMENT for a window below
// 2 or past the model's positions, fewer than 2 tokens, and a token that is not known;
// FAILED_PRECONDITION for a model that is not a language model; INTERNAL where a predicted token
// has a logit that is not a finite number. `progress` is told the share that is done, rising to 1,
// from the calling thread.
absl::StatusOr<Perplexity> EvaluatePerplexity(
    Model& model, Executor& executor, std::span<const int32_t> tokens,
    const PerplexityOptions& options, const std::function<void(double)>& progress = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_EVALUATE_PERPLEXITY_H_
