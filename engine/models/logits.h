// Probabilities out of a language model's logits, the same wherever they are asked for: in a
// response's logprobs, in `whipsnake evaluate` and in the choice among quantizations.
#ifndef WHIPSNAKE_ENGINE_MODELS_LOGITS_H_
#define WHIPSNAKE_ENGINE_MODELS_LOGITS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/models/model.h"

namespace whipsnake::engine {

// The ids of a model's tokens are below this: those that its tokenizer has. Columns of the logits
// from there on are padding, to a multiple that suits some hardware: they are never chosen and have
// no probability.
int64_t KnownTokens(const ModelInfo& info, int64_t tokenizer_size);

// The largest of values that are not NaN; -infinity of none.
float Largest(std::span<const float> values);

// ln Σ exp(logit) over the logits that are finite, -infinity where none is: a token's
// log-probability is its logit less that. Relative error of the sum below 2e-6. `scratch` is
// overwritten.
double LogNormalizer(std::span<const float> logits, std::vector<float>& scratch);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_LOGITS_H_
