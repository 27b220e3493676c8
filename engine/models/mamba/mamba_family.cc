#include "engine/models/mamba/mamba_family.h"

#include "engine/base/status.h"
#include "engine/models/convert.h"
#include "engine/models/mamba/mamba.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/mamba/mamba_job.h"
#include "engine/models/mamba/mamba_parameters.h"
#include "engine/models/mamba/trainable_mamba.h"
#include "kernels/hadamard/hadamard.h"

namespace whipsnake::engine {
namespace {

constexpr kernels::DType kFloatStateTypes[] = {kernels::DType::kF32};

absl::StatusOr<ModelConfig> Parse(std::string_view text) {
  ASSIGN_OR_RETURN(MambaConfig mamba, ParseMambaConfig(text));
  ModelConfig config;
  config.family = &kMambaFamily;
  config.parameters = CountParameters(MambaParameters(mamba));
  config.tokenizer_size = mamba.unpadded_vocab_size;
  config.vocab_size = mamba.vocab_size;
  config.eos_token_ids = mamba.eos_token_ids;
  if (mamba.quantization) config.quantized = mamba.quantization->scheme;
  config.architecture = std::move(mamba);
  return config;
}

absl::StatusOr<std::unique_ptr<Model>> Make(const ModelConfig& config,
                                            std::shared_ptr<const Checkpoint> checkpoint,
                                            const ModelOptions& options,
                                            const ModelEnvironment& environment) {
  return MakeMamba(config.As<MambaConfig>(), std::move(checkpoint), options, environment);
}

std::vector<ParameterSpec> Parameters(const ModelConfig& config) {
  return MambaParameters(config.As<MambaConfig>());
}

absl::StatusOr<TrainableLayers> MakeTrainable(const ModelConfig& config,
                                              std::optional<float> /*dropout*/,
                                              TrainableParameters& parameters) {
  return MakeTrainableMamba(config.As<MambaConfig>(), parameters);
}

std::string StoredName(const Checkpoint& checkpoint, const ParameterSpec& parameter) {
  return parameter.role == ParameterRole::kEmbedding ? MambaEmbeddingName(checkpoint)
                                                     : parameter.name;
}

absl::Status CheckWidth(const char* key, int64_t width, const char* rotation) {
  if (kernels::HasHadamard(width)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": ", width, " seen, expected 2^k, 12 * 2^k or 40 * 2^k for the ", rotation,
                   " rotation"));
}

absl::Status CheckMambaRecipe(const Recipe& recipe, const ModelConfig& config) {
  const auto& mamba = config.As<MambaConfig>();
  if (mamba.labels > 0) {
    return absl::InvalidArgumentError(
        "architectures: a Mamba classifier seen, expected a language model, whose loss on held-out "
        "text the choice of scales needs");
  }
  if (recipe.output_rotation) {
    RETURN_IF_ERROR(CheckWidth("intermediate_size", mamba.intermediate_size, "output"));
  }
  if (recipe.residual_rotation) {
    RETURN_IF_ERROR(CheckWidth("hidden_size", mamba.hidden_size, "residual"));
  }
  return absl::OkStatus();
}

}  // namespace

constinit const Family kMambaFamily = {
    .name = "mamba",
    .classifier = "MambaForSequenceClassification",
    .noun = "a Mamba",
    .quantized_schemes = kMambaSchemes,
    .float_state_types = kFloatStateTypes,
    .parse_config = Parse,
    .make_model = Make,
    .parameters = Parameters,
    .check_recipe = CheckMambaRecipe,
    .quantize = QuantizeMamba,
    .convert_activation = nullptr,
    .fixed_activation = "a Mamba has no activation to exchange: its SiLU is part of the gate",
    .make_trainable = MakeTrainable,
    .stored_name = StoredName,
    .surplus = MambaSurplus,
};

}  // namespace whipsnake::engine
