// The families of models: what each one defines, and the table of all of them.
//
// A family is a folder of engine/models and a line in family.cc. Everything else that depends on
// the family of a model (parsing its config, making it, drawing random weights, quantizing it,
// changing its activation) goes through this struct.
#ifndef WHIPSNAKE_ENGINE_MODELS_FAMILY_H_
#define WHIPSNAKE_ENGINE_MODELS_FAMILY_H_

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/scheme.h"
#include "engine/models/config.h"
#include "engine/models/model.h"
#include "engine/models/parameter_spec.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

struct Conversion;
struct QuantizationReport;
struct QuantizationInputs;
struct Recipe;
struct TrainableLayers;
class TrainableParameters;

struct Family {
  // The "model_type" of config.json, which also names the architecture in messages and metrics.
  std::string_view name;
  // The class of sequence classifiers of the family in "architectures" of config.json.
  std::string_view classifier = {};
  std::string_view noun;  // "a Mamba": a model of this family in a sentence

  // The quantized schemes that models of the family can have; the first is the default.
  std::span<const Scheme> quantized_schemes;
  // The types that a model of float weights can keep its states in.
  std::span<const kernels::DType> float_state_types;

  // Parses config.json. Errors as from ParseModelConfig().
  absl::StatusOr<ModelConfig> (*parse_config)(std::string_view json);

  // Makes the model of a config of this family. Errors as from LoadModel().
  absl::StatusOr<std::unique_ptr<Model>> (*make_model)(const ModelConfig& config,
                                                       std::shared_ptr<const Checkpoint> checkpoint,
                                                       const ModelOptions& options,
                                                       const ModelEnvironment& environment);

  // Returns every parameter of a model of this config, with its usual initialization.
  std::vector<ParameterSpec> (*parameters)(const ModelConfig& config);

  // Returns INVALID_ARGUMENT if a model of this config cannot be quantized with the recipe, whose
  // scheme must be one of the family's.
  absl::Status (*check_recipe)(const Recipe& recipe, const ModelConfig& config);

  // Quantizes a directory of this family; see QuantizeModel().
  absl::StatusOr<QuantizationReport> (*quantize)(const std::string& directory,
                                                 const std::string& out,
                                                 const QuantizationInputs& inputs);

  // Changes the activation; see ConvertActivation(). Null if the family's models have no activation
  // that can be changed; `fixed_activation` then says why.
  absl::StatusOr<Conversion> (*convert_activation)(const std::string& directory,
                                                   const ModelConfig& config,
                                                   std::string_view activation,
                                                   std::optional<float> epsilon,
                                                   const std::string& out);
  std::string_view fixed_activation;

  // Makes the layers of a model in training over its parameters, which are those of parameters().
  // `dropout` replaces all dropout probabilities of the config. Null if the family's models cannot
  // be trained; the two functions below are then null too.
  absl::StatusOr<TrainableLayers> (*make_trainable)(const ModelConfig& config,
                                                    std::optional<float> dropout,
                                                    TrainableParameters& parameters) = nullptr;
  // The name of the parameter's tensor in a checkpoint, which may leave out a prefix or use an
  // older name.
  std::string (*stored_name)(const Checkpoint& checkpoint,
                             const ParameterSpec& parameter) = nullptr;
  // What a tensor is that a checkpoint has though the model has no such parameter.
  Surplus (*surplus)(std::string_view name) = nullptr;
};

// All families, in the order in which messages name them.
std::span<const Family* const> Families();

// Adds a family to the table, for programs and tests that define their own. Not thread-safe: must
// be called before anything else uses the table. `family` must never be destroyed.
void AddFamily(const Family* family);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_FAMILY_H_
