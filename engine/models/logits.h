// Probabilities from a language model's logits. They are computed the same way in a response's
// logprobs, in `whipsnake evaluate` and in the choice among quantizations.
#ifndef WHIPSNAKE_ENGINE_MODELS_LOGITS_H_
#define WHIPSNAKE_ENGINE_MODELS_LOGITS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/models/model.h"

namespace whipsnake::engine {

// The number of token ids that both the model and its tokenizer have. The columns of the logits
// from there on are padding to a multiple that suits some hardware: they are never chosen and have
// no probability.
int64_t KnownTokens(const ModelInfo& info, int64_t tokenizer_size);

// The largest value, ignoring NaN; -infinity if there is none.
float Largest(std::span<const float> values);

// ln Σ exp(logit) over the finite logits, -infinity if there is none. A token's log-probability is
// its logit minus this value. The relative error of the sum is below 2e-6. `scratch` is
// overwritten.
double LogNormalizer(std::span<const float> logits, std::vector<float>& scratch);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_LOGITS_H_
