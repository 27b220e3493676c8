// Smooths a float GPT-2's tensors and rounds them to codes.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_QUANTIZER_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_QUANTIZER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/gpt2/gpt2_config.h"
#include "engine/models/gpt2/gpt2_statistics.h"
#include "engine/quantize/job.h"
#include "engine/quantize/recipe.h"

namespace whipsnake::engine {

struct QuantizedGpt2 {
  QuantizedTensors weights;  // named as in engine/layers/transformer_block.h
  std::map<TransformerPlace, SiteRounding> sites;
  std::vector<std::string> warnings;
};

// Quantizes all tensors. Moves half of the outliers of the products' inputs into the weights
// (SmoothQuant, arXiv 2211.10438) wherever the inputs come from a linear operation: the norms, and
// the values that attention mixes. Computes on the executor and yields to serving. `progress`
// receives the fraction that is done; an error that it returns ends the work. Returns
// INVALID_ARGUMENT, naming the tensor, for NaN or infinity in a tensor.
absl::StatusOr<QuantizedGpt2> QuantizeGpt2Tensors(
    const Checkpoint& checkpoint, const Gpt2Config& config, const Recipe& recipe,
    const TransformerStatistics& statistics, Executor& executor,
    const std::function<absl::Status(double)>& progress);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_QUANTIZER_H_
