#include "engine/quantize/recipe.h"

#include <algorithm>

#include "engine/base/status.h"
#include "engine/models/family.h"

namespace whipsnake::engine {
namespace {

// Refuses options that the scheme does not have.
absl::Status CheckCombination(const Recipe& recipe, const RecipeOptions& names) {
  if (recipe.scheme == Scheme::kW8A8) {
    if (names.residual_rotation) {
      return InvalidField("residual_rotation", "true", "false with the scheme w8a8");
    }
    if (recipe.granularity == Granularity::kTensor) {
      return InvalidField("granularity", "\"tensor\"", "channel with the scheme w8a8");
    }
    if (recipe.activation_table && !recipe.static_activations) {
      return InvalidField("activation_table", "true", "false unless activations is static");
    }
    return absl::OkStatus();
  }
  const char* const expected = "none, because only the scheme w8a8 has this option";
  if (!names.activations.empty()) {
    return InvalidField("activations", Quoted(names.activations), expected);
  }
  if (names.activation_table) return InvalidField("activation_table", "true", expected);
  return absl::OkStatus();
}

}  // namespace

Recipe RecipeOf(Scheme scheme, bool residual_rotation) {
  Recipe recipe;
  recipe.scheme = scheme;
  recipe.residual_rotation = residual_rotation || scheme == Scheme::kQuaRot;
  recipe.output_rotation = scheme == Scheme::kQuamba || scheme == Scheme::kQuambaNoPercentile ||
                           scheme == Scheme::kQuaRot;
  recipe.percentile = scheme == Scheme::kQuamba || scheme == Scheme::kQuambaNoRotation;
  recipe.smoothing = scheme == Scheme::kSmoothQuant || scheme == Scheme::kW8A8;
  return recipe;
}

absl::StatusOr<Recipe> ParseRecipe(const RecipeOptions& names, const ModelConfig* model) {
  Scheme scheme = model != nullptr ? model->family->quantized_schemes.front() : Scheme::kQuamba;
  if (!names.scheme.empty()) {
    const absl::StatusOr<Scheme> parsed = ParseScheme(names.scheme);
    if (!parsed.ok() || !IsQuantized(*parsed)) {
      return InvalidField("scheme", Quoted(names.scheme), SchemeNames(QuantizedSchemes()));
    }
    scheme = *parsed;
  }
  Recipe recipe = RecipeOf(scheme, names.residual_rotation);
  if (names.granularity == "tensor") {
    recipe.granularity = Granularity::kTensor;
  } else if (!names.granularity.empty() && names.granularity != "channel") {
    return InvalidField("granularity", Quoted(names.granularity), "channel or tensor");
  }
  if (names.head == "bf16") {
    recipe.head_bits = 16;
  } else if (!names.head.empty() && names.head != "int8") {
    return InvalidField("head", Quoted(names.head), "int8 or bf16");
  }
  if (!names.activations.empty() && names.activations != "static" &&
      names.activations != "dynamic") {
    return InvalidField("activations", Quoted(names.activations), "dynamic or static");
  }
  recipe.static_activations = names.activations == "static";
  recipe.activation_table = names.activation_table;
  // Without a model and a scheme's name, the scheme is not known yet.
  const bool known = model != nullptr || !names.scheme.empty();
  if (known) RETURN_IF_ERROR(CheckCombination(recipe, names));
  return recipe;
}

absl::Status CheckPercentile(const Recipe& recipe, const std::optional<double>& percentile) {
  if (!percentile) return absl::OkStatus();
  if (!(*percentile > 0 && *percentile <= 1)) {
    return InvalidField("percentile", absl::StrCat(*percentile), "a number above 0, at most 1");
  }
  if (recipe.percentile) return absl::OkStatus();
  return InvalidField(
      "percentile", absl::StrCat(*percentile),
      absl::StrCat("none, because the scheme ", ToAbsl(Name(recipe.scheme)), " clips nothing"));
}

absl::Status CheckRecipe(const Recipe& recipe, const ModelConfig& config) {
  if (config.quantized) {
    return absl::FailedPreconditionError(
        absl::StrCat("quantization_config: the model is quantized with ",
                     ToAbsl(Name(*config.quantized)), ", expected float weights"));
  }
  const Family& family = *config.family;
  if (std::ranges::find(family.quantized_schemes, recipe.scheme) ==
      family.quantized_schemes.end()) {
    return InvalidField(
        "scheme", Quoted(Name(recipe.scheme)),
        absl::StrCat(SchemeNames(family.quantized_schemes), " for ", ToAbsl(family.noun)));
  }
  return family.check_recipe(recipe, config);
}

}  // namespace whipsnake::engine
