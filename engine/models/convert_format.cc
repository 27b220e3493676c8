#include "engine/models/convert_format.h"

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/tokenizer_files.h"
#include "engine/models/config.h"
#include "engine/models/family.h"

namespace whipsnake::engine {
namespace {

using Names = std::set<std::string, std::less<>>;

// The names of the parameters' tensors, of which a quantized model has only some.
Names NamesOfParameters(const ModelConfig& config, const Checkpoint& checkpoint) {
  Names names;
  const Family& family = *config.family;
  if (family.stored_name == nullptr) return names;
  for (const ParameterSpec& spec : family.parameters(config)) {
    names.insert(family.stored_name(checkpoint, spec));
  }
  return names;
}

// Whether the tensor is no parameter but equals one, such as a head that is the embedding again.
bool IsRepeat(const std::string& name, const TensorView& tensor, const Names& parameters,
              const Checkpoint& checkpoint) {
  if (parameters.empty() || parameters.contains(name)) return false;
  return std::ranges::any_of(parameters, [&](const std::string& parameter) {
    const auto found = checkpoint.tensors().find(parameter);
    return found != checkpoint.tensors().end() && found->second.dtype == tensor.dtype &&
           found->second.shape == tensor.shape &&
           std::ranges::equal(found->second.data, tensor.data);
  });
}

bool IsLeftover(const ModelConfig& config, std::string_view name) {
  const auto surplus = config.family->surplus;
  return surplus != nullptr && surplus(name) == Surplus::kLeftover;
}

}  // namespace

absl::StatusOr<FormatConversion> ConvertToSafetensors(const std::string& directory,
                                                      const std::string& out) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  ASSIGN_OR_RETURN(const std::string config_text, ReadTextFile(directory + "/config.json"));
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(directory));

  FormatConversion conversion;
  const Names parameters = NamesOfParameters(config, *checkpoint);
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    if (IsLeftover(config, name)) continue;
    if (IsRepeat(name, tensor, parameters, *checkpoint)) {
      ++conversion.repeats;
      continue;
    }
    tensors.push_back({name, tensor});
    conversion.bytes += std::ssize(tensor.data);
  }
  for (const auto& [name, tensor] : checkpoint->others()) {
    if (!IsLeftover(config, name)) conversion.left_out.Add(name, tensor.type->name);
  }
  conversion.tensors = std::ssize(tensors);

  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(out));
  RETURN_IF_ERROR(CheckDiskSpace(made.path(), conversion.bytes));
  RETURN_IF_ERROR(CopyTokenizerFiles(directory, made.path()));
  RETURN_IF_ERROR(WriteFileAtomically(made.path() + "/config.json", config_text));
  const absl::Status written = WriteSafetensors(made.path() + "/model.safetensors", tensors);
  RETURN_IF_ERROR(checkpoint->Check());  // first, as it may have caused the other error
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(made.Commit());
  return conversion;
}

}  // namespace whipsnake::engine
