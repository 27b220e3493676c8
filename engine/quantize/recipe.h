// What a scheme does to a model before its numbers are rounded.
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

// How many numbers share a scale.
enum class Granularity {
  // As published: one scale for each tensor, x and z share one, and so do δ, B and C; the vectors
  // (A_log, D and the biases) are codes too.
  kTensor,
  // One for each output of a product, and for each channel where nothing sums over channels; the
  // vectors
  // stay in fp32. Costs nothing at run time.
  kChannel,
};

struct Recipe {
  Scheme scheme = Scheme::kQuamba;
  bool output_rotation = false;    // y by a Hadamard matrix of order E
  bool residual_rotation = false;  // the residual stream by one of order d; unties the head
  bool percentile = false;         // for x; else the largest magnitude
  bool smoothing = false;          // SmoothQuant's, of u, x, δ and y
  Granularity granularity = Granularity::kChannel;
  int64_t head_bits = 8;  // of embedding and head: 8, or 16 for bf16
  // Of transformers: a product's inputs have one scale, from calibration, instead of one for each
  // token; and the activation is looked up in a table where that keeps CRReLU's epsilon.
  bool static_activations = false;
  bool activation_table = false;
};

// What people say of a recipe; what is empty is the default.
struct RecipeNames {
  std::string_view scheme = {};       // of a Mamba quamba-w8a8, of a transformer w8a8
  std::string_view granularity = {};  // "channel", "tensor"
  std::string_view head = {};         // "int8", "bf16"
  std::string_view activations = {};  // "dynamic", "static"
  bool residual_rotation = false;
  bool activation_table = false;
};

// The scheme's recipe; `residual_rotation` adds that rotation to a scheme that lacks it.
Recipe RecipeOf(Scheme scheme, bool residual_rotation = false);

// INVALID_ARGUMENT of the field that has an unknown name, or one that the model, where one is
// given, cannot be quantized with.
absl::StatusOr<Recipe> ParseRecipe(const RecipeNames& names, const ModelConfig* model = nullptr);

// INVALID_ARGUMENT for a percentile out of range, and for any with a recipe that has none.
absl::Status CheckPercentile(const Recipe& recipe, const std::optional<double>& percentile);

// FAILED_PRECONDITION for a model that is quantized already, INVALID_ARGUMENT naming the width that
// has no Hadamard matrix, or the scheme that is not for such a model.
absl::Status CheckRecipe(const Recipe& recipe, const ModelConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_RECIPE_H_
