// Folds a float Mamba's tensors and rounds them to codes.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_QUANTIZER_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_QUANTIZER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/mamba/mamba_statistics.h"
#include "engine/quantize/codes.h"
#include "engine/quantize/job.h"
#include "engine/quantize/recipe.h"

namespace whipsnake::engine {

// A layer's float weights, [N,K] row-major. Hugging Face's names without prefix and ".weight".
struct FloatLayer {
  std::vector<float> norm, in_proj, in_proj_bias, conv, conv_bias, x_proj, dt_proj, dt_bias, a_log,
      d, out_proj, out_proj_bias;
};
absl::StatusOr<FloatLayer> ReadLayer(const Checkpoint& checkpoint, const MambaConfig& config,
                                     int64_t layer);

// Folds γ into in_proj, and the recipe's rotations into in_proj and out_proj. With both rotations,
// the layer computes the same as before if its input is H (u/γ)/√d and its y is H y/√E, and outputs
// H h/√d.
void FoldLayer(const kernels::Context& context, const MambaConfig& config, const Recipe& recipe,
               FloatLayer& layer);

// The weights outside of the layers.
struct FloatEmbeddingAndHead {
  std::vector<float> embedding;  // [V,d]
  std::vector<float> norm;       // γ_f[d]
  std::vector<float> head;       // [V,d]; empty if tied to the embedding
};
absl::StatusOr<FloatEmbeddingAndHead> ReadEmbeddingAndHead(const Checkpoint& checkpoint,
                                                           const MambaConfig& config);

// Folds γ_f into an untied head, and the rotation of the residual stream, if the recipe has it,
// into embedding and head. A tied head is untied for the rotation. A head that stays tied keeps γ_f
// in the norm.
void FoldEmbeddingAndHead(const kernels::Context& context, const MambaConfig& config,
                          const Recipe& recipe, FloatEmbeddingAndHead& ends);

// Quantizes all tensors. Computes on the executor and yields to serving. `progress` receives the
// fraction that is done; an error that it returns ends the work. Returns INVALID_ARGUMENT, naming
// the tensor, for NaN or infinity in a tensor. `alpha` indexes statistics.alphas().
absl::StatusOr<QuantizedTensors> QuantizeTensors(
    const Checkpoint& checkpoint, const MambaConfig& config, const Recipe& recipe,
    const MambaStatistics& statistics, size_t alpha, Executor& executor,
    const std::function<absl::Status(double)>& progress);

// Replaces the scales that depend on the percentile: those of x.
void SetPercentile(const MambaConfig& config, const Recipe& recipe,
                   const MambaStatistics& statistics, size_t alpha,
                   std::vector<OwnedTensor>& tensors);

// Replaces the scales of int8 states, so that states are clipped at `clip` times the mean of the
// samples' largest magnitudes. QuantizeTensors() writes the scales for a clip of 1.
void SetStateClip(const MambaConfig& config, const Recipe& recipe,
                  const MambaStatistics& statistics, double clip,
                  std::vector<OwnedTensor>& tensors);

// Reads the γ of every layer, then γ_f.
absl::StatusOr<std::vector<std::vector<float>>> ReadNorms(const Checkpoint& checkpoint,
                                                          const MambaConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_QUANTIZER_H_
