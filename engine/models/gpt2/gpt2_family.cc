#include "engine/models/gpt2/gpt2_family.h"

#include "engine/base/status.h"
#include "engine/models/gpt2/gpt2.h"
#include "engine/models/gpt2/gpt2_config.h"
#include "engine/models/gpt2/gpt2_convert.h"
#include "engine/models/gpt2/gpt2_job.h"
#include "engine/models/gpt2/gpt2_names.h"
#include "engine/models/gpt2/gpt2_parameters.h"
#include "engine/models/gpt2/trainable_gpt2.h"

namespace whipsnake::engine {
namespace {

constexpr Scheme kSchemes[] = {Scheme::kW8A8};
constexpr kernels::DType kFloatStateTypes[] = {kernels::DType::kF32, kernels::DType::kBF16,
                                               kernels::DType::kI8};

absl::StatusOr<ModelConfig> Parse(std::string_view text) {
  ASSIGN_OR_RETURN(Gpt2Config gpt2, ParseGpt2Config(text));
  ModelConfig config;
  config.family = &kGpt2Family;
  config.parameters = CountParameters(Gpt2Parameters(gpt2));
  config.tokenizer_size = gpt2.vocab_size;
  config.vocab_size = gpt2.vocab_size;
  config.max_positions = gpt2.positions;
  config.eos_token_ids = gpt2.eos_token_ids;
  if (gpt2.quantization) config.quantized = Scheme::kW8A8;
  config.architecture = std::move(gpt2);
  return config;
}

absl::StatusOr<std::unique_ptr<Model>> Make(const ModelConfig& config,
                                            std::shared_ptr<const Checkpoint> checkpoint,
                                            const ModelOptions& options,
                                            const ModelEnvironment& environment) {
  return MakeGpt2(config.As<Gpt2Config>(), std::move(checkpoint), options, environment);
}

std::vector<ParameterSpec> Parameters(const ModelConfig& config) {
  return Gpt2Parameters(config.As<Gpt2Config>());
}

absl::StatusOr<TrainableLayers> MakeTrainable(const ModelConfig& config,
                                              std::optional<float> dropout,
                                              TrainableParameters& parameters) {
  return MakeTrainableGpt2(config.As<Gpt2Config>(), dropout, parameters);
}

std::string StoredName(const Checkpoint& checkpoint, const ParameterSpec& parameter) {
  return Gpt2StoredName(checkpoint, parameter.name);
}

absl::Status AnyRecipe(const Recipe&, const ModelConfig&) { return absl::OkStatus(); }

absl::StatusOr<Conversion> Convert(const std::string& directory, const ModelConfig& config,
                                   std::string_view activation, std::optional<float> epsilon,
                                   const std::string& out) {
  return ConvertGpt2Activation(directory, config.As<Gpt2Config>(), activation, epsilon, out);
}

}  // namespace

constinit const Family kGpt2Family = {
    .name = "gpt2",
    .classifier = "GPT2ForSequenceClassification",
    .noun = "a transformer",
    .quantized_schemes = kSchemes,
    .float_state_types = kFloatStateTypes,
    .parse_config = Parse,
    .make_model = Make,
    .parameters = Parameters,
    .check_recipe = AnyRecipe,
    .quantize = QuantizeGpt2,
    .convert_activation = Convert,
    .fixed_activation = {},
    .make_trainable = MakeTrainable,
    .stored_name = StoredName,
    .surplus = Gpt2Surplus,
};

}  // namespace whipsnake::engine
