#include "engine/models/mamba/mamba_errors.h"

#include <algorithm>

#include "engine/base/status.h"
#include "engine/layers/weights.h"
#include "engine/models/mamba/mamba_statistics.h"
#include "engine/quantize/rotation.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;
using Floats = std::vector<float>;

}  // namespace

QuantizationError::QuantizationError(const MambaConfig& config, const Recipe& recipe,
                                     std::vector<Floats> norms)
    : config_(config), recipe_(recipe), norms_(std::move(norms)) {}

absl::StatusOr<std::unique_ptr<QuantizationError>> QuantizationError::Make(
    const Checkpoint& quantized, const MambaConfig& config, const Recipe& recipe,
    std::vector<Floats> norms) {
  std::unique_ptr<QuantizationError> result(
      new QuantizationError(config, recipe, std::move(norms)));
  WeightLoader loader(&quantized, nullptr);
  // Reads the stored scales, multiplied by the smoothing if there is one.
  const auto read = [&](int64_t layer, MambaSite site, const std::string& name,
                        int64_t columns) -> absl::Status {
    ASSIGN_OR_RETURN(Floats scale, loader.Scales(name + "_scale", columns));
    if (quantized.Contains(name + "_smoothing")) {
      ASSIGN_OR_RETURN(const Floats smoothing, loader.Scales(name + "_smoothing", columns));
      for (int64_t i = 0; i < columns; ++i) scale[i] *= smoothing[i];
    }
    result->sites_[{layer, site}].scale = std::move(scale);
    return absl::OkStatus();
  };
  const int64_t d = config.hidden_size, E = config.intermediate_size;
  const int64_t N = config.state_size, R = config.time_step_rank;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string mixer = absl::StrCat("backbone.layers.", i, ".mixer.");
    RETURN_IF_ERROR(read(i, MambaSite::kInput, mixer + "in_proj.input", d));
    RETURN_IF_ERROR(read(i, MambaSite::kConvInput, mixer + "conv1d.input", E));
    RETURN_IF_ERROR(read(i, MambaSite::kGate, mixer + "gate", E));
    RETURN_IF_ERROR(read(i, MambaSite::kX, mixer + "x_proj.input", E));
    if (!recipe.smoothing) RETURN_IF_ERROR(read(i, MambaSite::kRank, mixer + "dt_proj.input", R));
    RETURN_IF_ERROR(read(i, MambaSite::kB, mixer + "B", N));
    RETURN_IF_ERROR(read(i, MambaSite::kC, mixer + "C", N));
    RETURN_IF_ERROR(read(i, MambaSite::kStep, mixer + "dt_proj.output", E));
    RETURN_IF_ERROR(read(i, MambaSite::kOutput, mixer + "out_proj.input", E));
    // With SmoothQuant, the norm divides u by the factors that in_proj is multiplied by.
    if (recipe.smoothing) {
      const int64_t shape[] = {d};
      ASSIGN_OR_RETURN(const Floats norm,
                       loader.Values(absl::StrCat("backbone.layers.", i, ".norm.weight"), shape));
      Floats& scale = result->sites_[{i, MambaSite::kInput}].scale;
      for (int64_t c = 0; c < d; ++c) scale[c] /= norm[c];
    }
  }
  if (recipe.head_bits == 8) {
    RETURN_IF_ERROR(read(config.layers, MambaSite::kHeadInput, "lm_head.input", d));
  }
  return result;
}

void QuantizationError::Observe(const kernels::Context& context, int64_t layer, MambaSite site,
                                MatrixView<const float> values) {
  const auto found = sites_.find({layer, site});
  if (found == sites_.end()) return;
  scratch_.resize(values.rows * values.cols);
  const MatrixView<float> seen(scratch_.data(), values.rows, values.cols);
  for (int64_t r = 0; r < values.rows; ++r) std::copy_n(values.row(r), values.cols, seen.row(r));
  const bool tied_head = site == MambaSite::kHeadInput && config_.tie_embeddings;
  if ((site == MambaSite::kInput || site == MambaSite::kHeadInput) &&
      (!tied_head || recipe_.residual_rotation)) {
    DivideByNorm(seen, norms_[layer]);
    if (recipe_.residual_rotation) RotateRows(context, seen);
  }
  if (site == MambaSite::kOutput && recipe_.output_rotation) RotateRows(context, seen);
  SiteError& result = found->second;
  for (int64_t r = 0; r < seen.rows; ++r) {
    for (int64_t c = 0; c < seen.cols; ++c) result.error.Add(seen.row(r)[c], result.scale[c]);
  }
}

}  // namespace whipsnake::engine
