// Perplexity: how well a language model predicts a text.
#ifndef WHIPSNAKE_ENGINE_EVALUATE_PERPLEXITY_H_
#define WHIPSNAKE_ENGINE_EVALUATE_PERPLEXITY_H_

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/evaluate/sequence_logits.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

struct PerplexityOptions {
  // Tokens per window, at least 2. Windows do not overlap, each starts from an empty state, and the
  // last may be shorter.
  int64_t window = 2048;
  // Ids from this one on are padding of the model's vocabulary and have no probability:
  // KnownTokens() of the model and its tokenizer. 0 means that the model has no padding.
  int64_t known_tokens = 0;
  // Limits the logits of one forward pass, in bytes. Short windows are run side by side up to this
  // limit, long ones in several passes. The result depends on it only through the rounding of float
  // products.
  int64_t max_logits_bytes = kDefaultLogitsBytes;
  // Priority of the sums over the logits; the model has its own.
  Priority priority = Priority::kPrefill;
};

struct Perplexity {
  int64_t tokens = 0;
  // A window of n tokens predicts n - 1, because the first token has no context.
  int64_t predicted = 0;
  // Mean over the predicted tokens of -ln p(token | the window before it), with p as in the
  // logprobs of a response.
  double nll = 0;

  double perplexity() const;  // e^nll
};

// The default window: 2048, or the model's number of positions if that is smaller.
int64_t DefaultWindow(const ModelInfo& info);

// Evaluates `model`, which runs on `executor`, on `tokens`. Returns INVALID_ARGUMENT if the window
// is below 2 or exceeds the model's positions, if there are fewer than 2 tokens, or if a token is
// unknown; FAILED_PRECONDITION if the model is not a language model; INTERNAL if the logits make
// the loss infinite or NaN. `progress` is called on the calling thread with the fraction done,
// rising to 1.
absl::StatusOr<Perplexity> EvaluatePerplexity(
    Model& model, Executor& executor, std::span<const int32_t> tokens,
    const PerplexityOptions& options, const std::function<void(double)>& progress = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_EVALUATE_PERPLEXITY_H_
