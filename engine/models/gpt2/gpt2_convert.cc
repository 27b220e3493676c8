#include "engine/models/gpt2/gpt2_convert.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/tokenizer_files.h"
#include "engine/models/gpt2/gpt2_names.h"

namespace whipsnake::engine {
namespace {

using kernels::Activation;

// Returns `text` with the activation changed. `initial` becomes crrelu_epsilon_init; nullopt
// removes that key.
std::string ConfigJson(const std::string& text, std::string_view activation,
                       std::optional<float> initial) {
  nlohmann::ordered_json config = PythonJsonInOrder(text);
  config["activation_function"] = activation;
  config.erase("crrelu_epsilon_init");
  if (initial) config["crrelu_epsilon_init"] = *initial;
  return PythonJsonText(std::move(config)) + "\n";
}

TensorView OneNumber(const float& value) {
  return {kernels::DType::kF32, {1}, std::as_bytes(std::span(&value, 1))};
}

// Returns the epsilon of a layer of a model with CRReLU. `config` must outlive the view.
absl::StatusOr<TensorView> TrainedEpsilon(const Checkpoint& checkpoint, const std::string& module,
                                          const Gpt2Config& config) {
  for (const char* end : kEpsilonNames) {
    if (checkpoint.Contains(module + end)) return checkpoint.Get(module + end);
  }
  if (config.crrelu_epsilon_init) return OneNumber(*config.crrelu_epsilon_init);
  return absl::NotFoundError(absl::StrCat("tensor ", Quoted(module + kEpsilonNames[0]),
                                          ": missing, expected shape [1], as activation_function "
                                          "is \"crrelu\""));
}

absl::Status WriteConverted(const std::string& directory, const Checkpoint& checkpoint,
                            std::string_view activation, std::optional<float> initial,
                            std::span<const NamedTensor> tensors, const std::string& out) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(directory + "/config.json"));
  int64_t bytes = 0;
  for (const NamedTensor& tensor : tensors) bytes += std::ssize(tensor.tensor.data);
  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(out));
  RETURN_IF_ERROR(CheckDiskSpace(made.path(), bytes));
  RETURN_IF_ERROR(CopyTokenizerFiles(directory, made.path()));
  RETURN_IF_ERROR(
      WriteFileAtomically(made.path() + "/config.json", ConfigJson(text, activation, initial)));
  if (ParseActivation(activation) == Activation::kCRRelu) {
    RETURN_IF_ERROR(WriteFileAtomically(made.path() + "/crrelu.py", CrreluRegistration()));
  }
  const absl::Status written = WriteSafetensors(made.path() + "/model.safetensors", tensors);
  RETURN_IF_ERROR(checkpoint.Check());  // first, as it may have caused the other error
  RETURN_IF_ERROR(written);
  return made.Commit();
}

}  // namespace

absl::StatusOr<Conversion> ConvertGpt2Activation(const std::string& directory,
                                                 const Gpt2Config& config,
                                                 std::string_view activation,
                                                 std::optional<float> epsilon,
                                                 const std::string& out) {
  const auto parsed = ParseActivation(activation);
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(directory));

  Conversion conversion;
  if (*parsed == Activation::kCRRelu) {
    conversion.kept_epsilons = config.activation == Activation::kCRRelu && !epsilon;
    if (!conversion.kept_epsilons) conversion.epsilon = epsilon.value_or(kInitialEpsilon);
  }
  std::vector<NamedTensor> tensors;
  for (const auto& [name, view] : checkpoint->tensors()) {
    if (!IsEpsilon(name)) tensors.push_back({name, view});
  }
  for (const auto& [name, tensor] : checkpoint->others()) {
    if (Gpt2Surplus(name) != Surplus::kLeftover) conversion.left_out.Add(name, tensor.type->name);
  }
  for (int64_t layer = 0; *parsed == Activation::kCRRelu && layer < config.layers; ++layer) {
    const std::string module = absl::StrCat(Gpt2Prefix(*checkpoint), "h.", layer, ".mlp.act");
    TensorView view;
    if (conversion.kept_epsilons) {
      ASSIGN_OR_RETURN(view, TrainedEpsilon(*checkpoint, module, config));
    } else {
      view = OneNumber(*conversion.epsilon);
    }
    tensors.push_back({module + kEpsilonNames[0], view});
  }
  const auto initial = conversion.kept_epsilons ? config.crrelu_epsilon_init : conversion.epsilon;
  RETURN_IF_ERROR(WriteConverted(directory, *checkpoint, activation, initial, tensors, out));
  return conversion;
}

}  // namespace whipsnake::engine
