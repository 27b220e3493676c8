#include "engine/finetune/result.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/tokenizer_files.h"
#include "engine/finetune/task_config.h"
#include "engine/layers/activation.h"
#include "engine/models/convert.h"
#include "kernels/matmul/bf16_cpu.h"

namespace whipsnake::engine {
namespace {

using kernels::Activation;
using kernels::DType;
using nlohmann::json;

// Passes the values on in bf16, piece by piece.
absl::Status AppendRounded(const TrainableParameter& parameter, const NamedTensor::Append& append) {
  constexpr int64_t kPiece = 65536;
  std::vector<uint16_t> rounded(std::min(kPiece, parameter.elements()));
  for (int64_t begin = 0; begin < parameter.elements(); begin += kPiece) {
    const int64_t count = std::min(kPiece, parameter.elements() - begin);
    kernels::RoundToBF16(parameter.data() + begin, count, rounded.data());
    RETURN_IF_ERROR(append(std::as_bytes(std::span(rounded).first(count))));
  }
  return absl::OkStatus();
}

std::vector<NamedTensor> ResultTensors(const TrainableParameters& parameters, DType dtype) {
  std::vector<NamedTensor> tensors;
  for (const TrainableParameter& parameter : parameters.all()) {
    NamedTensor& tensor = tensors.emplace_back();
    tensor.name = parameter.name;
    tensor.tensor = {dtype, parameter.shape, {}};
    if (dtype == DType::kF32) {
      tensor.tensor.data = parameter.value.bytes();
    } else {
      tensor.produce = [&parameter](const NamedTensor::Append& append) {
        return AppendRounded(parameter, append);
      };
    }
  }
  return tensors;
}

int64_t TensorBytesOf(const TrainableParameters& parameters, DType dtype) {
  int64_t elements = 0;
  for (const TrainableParameter& parameter : parameters.all()) elements += parameter.elements();
  return elements * kernels::ByteSize(dtype);
}

// transformers 5 names the type "dtype", but reads the older name too.
std::string ConfigText(const std::string& text, DType dtype) {
  auto config = PythonJsonInOrder(text);
  config.erase("dtype");
  config["torch_dtype"] = dtype == DType::kF32 ? "float32" : "bfloat16";
  return PythonJsonText(std::move(config)) + "\n";
}

// Whether transformers must be told of the activation.
bool HasCrrelu(const json& config) {
  JsonObjectReader reader(config);
  return ParseActivation(reader.Text("activation_function", "")) == Activation::kCRRelu;
}

}  // namespace

absl::Status WriteResult(const TrainableParameters& parameters, const ResultOptions& options,
                         const std::string& out) {
  ASSIGN_OR_RETURN(const Labels labels, HeadLabels(options.config));
  ASSIGN_OR_RETURN(const json config, ParsePythonJsonObject(options.config));
  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(out));
  RETURN_IF_ERROR(CheckDiskSpace(made.path(), TensorBytesOf(parameters, options.dtype)));

  const std::filesystem::path path = made.path();
  RETURN_IF_ERROR(CopyTokenizerFiles(options.source, made.path()));
  std::error_code ignored;
  if (!labels.empty()) std::filesystem::remove(path / "generation_config.json", ignored);
  RETURN_IF_ERROR(
      WriteFileAtomically(path / "config.json", ConfigText(options.config, options.dtype)));
  if (HasCrrelu(config)) {
    RETURN_IF_ERROR(WriteFileAtomically(path / "crrelu.py", CrreluRegistration()));
  }
  for (const auto& [name, text] : options.more_files) {
    RETURN_IF_ERROR(WriteFileAtomically(path / name, text));
  }
  RETURN_IF_ERROR(
      WriteSafetensors(path / "model.safetensors", ResultTensors(parameters, options.dtype)));
  return made.Commit();
}

}  // namespace whipsnake::engine
