// The options of a quantization scheme: how a model is transformed before its values are rounded.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_RECIPE_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_RECIPE_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/scheme.h"
#include "engine/models/config.h"

namespace whipsnake::engine {

// How many values share a scale.
enum class Granularity {
  // As published: one scale per tensor. x and z share one, and so do δ, B and C. The vectors
  // (A_log, D and the biases of convolution and dt_proj) are codes too.
  kTensor,
  // One scale per output of a product, and one per channel where nothing sums over channels. The
  // vectors stay in fp32. Costs nothing at run time.
  kChannel,
};

struct Recipe {
  Scheme scheme = Scheme::kQuamba;
  bool output_rotation = false;    // of y, by a Hadamard matrix of order E
  bool residual_rotation = false;  // of the residual stream, by one of order d; unties the head
  bool percentile = false;         // clip x at a percentile, else at the largest magnitude
  bool smoothing = false;          // SmoothQuant's, of u, x, δ and y
  Granularity granularity = Granularity::kChannel;
  int64_t head_bits = 8;  // of embedding and head: 8, or 16 for bf16
  // For transformers: the inputs of a product have one scale from calibration instead of one per
  // token.
  bool static_activations = false;
  // For transformers: the activation is looked up in a table if that preserves CRReLU's epsilon.
  bool activation_table = false;
};

// User-supplied options. Empty ones take their defaults.
struct RecipeOptions {
  std::string_view scheme = {};       // default: quamba-w8a8 for a Mamba, w8a8 for a transformer
  std::string_view granularity = {};  // "channel", "tensor"
  std::string_view head = {};         // "int8", "bf16"
  std::string_view activations = {};  // "dynamic", "static"
  bool residual_rotation = false;
  bool activation_table = false;
};

// The recipe of a scheme. `residual_rotation` adds that rotation to a scheme without it.
Recipe RecipeOf(Scheme scheme, bool residual_rotation = false);

// Returns INVALID_ARGUMENT, naming the field, for an unknown name or an option that the scheme does
// not have. The default scheme depends on `model`. If `model` is null and no scheme is named, the
// options are not checked against the scheme.
absl::StatusOr<Recipe> ParseRecipe(const RecipeOptions& names, const ModelConfig* model = nullptr);

// Returns INVALID_ARGUMENT for a percentile out of range, and for any percentile if the recipe has
// none.
absl::Status CheckPercentile(const Recipe& recipe, const std::optional<double>& percentile);

// Returns FAILED_PRECONDITION if the model is already quantized; INVALID_ARGUMENT, naming the width
// that has no Hadamard matrix or the scheme that does not apply to such a model.
absl::Status CheckRecipe(const Recipe& recipe, const ModelConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_RECIPE_H_
