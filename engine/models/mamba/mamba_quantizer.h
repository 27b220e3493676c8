// A float Mamba's tensors, folded and rounded to codes.
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

// A layer's float weights, [N,K] row-major, in Hugging Face's names without prefix and ".weight".
struct FloatLayer {
  std::vector<float> norm, in_proj, in_proj_bias, conv, conv_bias, x_proj, dt_proj, dt_bias, a_log,
      d, out_proj, out_proj_bias;
};
absl::StatusOr<FloatLayer> ReadLayer(const Checkpoint& checkpoint, const MambaConfig& config,
                                     int64_t layer);

// γ into in_proj, and the recipe's rotations into in_proj and out_proj. The layer then computes the
// same, if its input is H (u/γ)/√d and its y is H y/√E, and gives H h/√d.
void FoldLayer(const MambaConfig& config, const Recipe& recipe, FloatLayer& layer);

// The weights outside of the layers.
struct FloatEnds {
  std::vector<float> embedding;  // [V,d]
  std::vector<float> norm;       // γ_f[d]
  std::vector<float> head;       // [V,d]; empty where the embedding is the head
};
absl::StatusOr<FloatEnds> ReadEnds(const Checkpoint& checkpoint, const MambaConfig& config);

// γ_f into an untied head, and the residual stream's rotation into both, for which a tied head is
// untied. A tied head that stays one keeps γ_f in the norm.
void FoldEnds(const MambaConfig& config, const Recipe& recipe, FloatEnds& ends);

// Computes on the executor, giving way to serving. `progress` is told the share that is done; an
// error from it ends the work. NaN and infinity in a tensor are INVALID_ARGUMENT naming it. `alpha`
// indexes statistics.alphas().
absl::StatusOr<QuantizedTensors> QuantizeTensors(
    const Checkpoint& checkpoint, const MambaConfig& config, const Recipe& recipe,
    const MambaStatistics& statistics, size_t alpha, Executor& executor,
    const std::function<absl::Status(double)>& progress);

// Replaces the scales that depend on the percentile: of x.
void SetPercentile(const MambaConfig& config, const Recipe& recipe,
                   const MambaStatistics& statistics, size_t alpha,
                   std::vector<OwnedTensor>& tensors);

// Replaces the scales of int8 states, so that they are clipped at `clip` times the mean of the
// samples' largest. QuantizeTensors() writes those of 1.
void SetStateClip(const MambaConfig& config, const Recipe& recipe,
                  const MambaStatistics& statistics, double clip,
                  std::vector<OwnedTensor>& tensors);

// The γ of every layer, then γ_f.
absl::StatusOr<std::vector<std::vector<float>>> ReadNorms(const Checkpoint& checkpoint,
                                                          const MambaConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_QUANTIZER_H_
