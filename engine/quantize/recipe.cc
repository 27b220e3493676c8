#include "engine/quantize/recipe.h"

#include "engine/base/status.h"
#include "kernels/hadamard/hadamard.h"

namespace whipsnake::engine {
namespace {

absl::Status CheckWidth(const char* key, int64_t width, const char* rotation) {
  if (kernels::HasHadamard(width)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": ", width, " seen, expected 2^k, 12 * 2^k or 40 * 2^k for the ", rotation,
                   " rotation"));
}

}  // namespace

Recipe RecipeOf(Scheme scheme, bool residual_rotation) {
  Recipe recipe;
  recipe.scheme = scheme;
  recipe.residual_rotation = residual_rotation || scheme == Scheme::kQuaRot;
  recipe.output_rotation = scheme == Scheme::kQuamba || scheme == Scheme::kQuambaNoPercentile ||
                           scheme == Scheme::kQuaRot;
  recipe.percentile = scheme == Scheme::kQuamba || scheme == Scheme::kQuambaNoRotation;
  recipe.smoothing = scheme == Scheme::kSmoothQuant;
  return recipe;
}

absl::StatusOr<Recipe> ParseRecipe(std::string_view scheme, std::string_view granularity,
                                   std::string_view head, bool residual_rotation) {
  const absl::StatusOr<Scheme> parsed =
      scheme.empty() ? absl::StatusOr<Scheme>(Scheme::kQuamba) : ParseScheme(scheme);
  if (!parsed.ok() || !IsQuantized(*parsed)) {
    return InvalidField("scheme", Quoted(scheme), SchemeNames(QuantizedSchemes()));
  }
  Recipe recipe = RecipeOf(*parsed, residual_rotation);
  if (granularity == "tensor") {
    recipe.granularity = Granularity::kTensor;
  } else if (!granularity.empty() && granularity != "channel") {
    return InvalidField("granularity", Quoted(granularity), "channel or tensor");
  }
  if (head == "bf16") {
    recipe.head_bits = 16;
  } else if (!head.empty() && head != "int8") {
    return InvalidField("head", Quoted(head), "int8 or bf16");
  }
  return recipe;
}

absl::Status CheckRecipe(const Recipe& recipe, const MambaConfig& config) {
  if (config.quantization) {
    return absl::FailedPreconditionError(
        absl::StrCat("quantization_config: the model is quantized with ",
                     ToAbsl(Name(config.quantization->scheme)), ", expected float weights"));
  }
  if (recipe.output_rotation) {
    RETURN_IF_ERROR(CheckWidth("intermediate_size", config.intermediate_size, "output"));
  }
  if (recipe.residual_rotation) {
    RETURN_IF_ERROR(CheckWidth("hidden_size", config.hidden_size, "residual"));
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
