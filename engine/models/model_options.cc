#include "engine/models/model_options.h"

#include <algorithm>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/models/config.h"
#include "engine/models/family.h"

namespace whipsnake::engine {

absl::StatusOr<ModelOptions> ParseModelOptions(std::string_view scheme,
                                               std::string_view state_type) {
  ModelOptions options;
  FieldErrors errors;
  if (!scheme.empty()) errors.Add(ParseScheme(scheme), &options.scheme);
  if (state_type == "fp32") {
    options.state_type = kernels::DType::kF32;
  } else if (state_type == "bf16") {
    options.state_type = kernels::DType::kBF16;
  } else if (state_type == "int8") {
    options.state_type = kernels::DType::kI8;
  } else if (!state_type.empty()) {
    errors.Add(InvalidField("state_type", Quoted(state_type), "fp32, bf16 or int8"));
  }
  RETURN_IF_ERROR(errors.status());
  return options;
}

absl::StatusOr<Scheme> ChooseScheme(const ModelOptions& options, std::optional<Scheme> quantized) {
  if (quantized) {
    if (options.scheme.value_or(*quantized) == *quantized) return *quantized;
    return absl::FailedPreconditionError(
        absl::StrCat("scheme \"", ToAbsl(Name(*options.scheme)), "\" seen, expected \"",
                     ToAbsl(Name(*quantized)), "\", which the weights were quantized with"));
  }
  const Scheme scheme = options.scheme.value_or(Scheme::kFp32);
  if (!IsQuantized(scheme)) return scheme;
  return absl::FailedPreconditionError(absl::StrCat(
      "scheme \"", ToAbsl(Name(scheme)),
      "\" seen for unquantized weights, expected fp32 or bf16; `whipsnake quantize --scheme ",
      ToAbsl(Name(scheme)), "` makes a directory with this scheme"));
}

absl::Status CheckOptions(const ModelOptions& options, const ModelConfig& config) {
  RETURN_IF_ERROR(ChooseScheme(options, config.quantized).status());
  const auto type = options.state_type.value_or(kernels::DType::kF32);
  const Family& family = *config.family;
  const bool known =
      std::ranges::find(family.float_state_types, type) != family.float_state_types.end();
  if (config.quantized || known) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "state_type ", type == kernels::DType::kBF16 ? "\"bf16\"" : "\"int8\"", " seen for ",
      ToAbsl(family.noun), " of float weights, which keeps its states in fp32, expected \"fp32\""));
}

ModelOptions ApplicableOptions(const ModelOptions& options, const ModelConfig& config,
                               std::vector<absl::Status>& left_out) {
  ModelOptions applicable;
  const auto keep = [&](ModelOptions wider) {
    const absl::Status status = CheckOptions(wider, config);
    if (status.ok()) {
      applicable = wider;
    } else {
      left_out.push_back(status);
    }
  };
  if (options.scheme) keep({.scheme = options.scheme});
  if (options.state_type) keep({.scheme = applicable.scheme, .state_type = options.state_type});
  return applicable;
}

}  // namespace whipsnake::engine
