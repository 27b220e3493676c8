// Writes a fine-tuned model.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_RESULT_H_
#define WHIPSNAKE_ENGINE_FINETUNE_RESULT_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "engine/layers/training/trainable_parameter.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

struct ResultOptions {
  std::string source;                           // the directory of the model that was trained
  std::string config;                           // config.json of the result: ConfigForTask()
  kernels::DType dtype = kernels::DType::kF32;  // of the tensors: kF32, or kBF16, which rounds
  // Texts of more files by their names, such as "training.json".
  std::map<std::string, std::string> more_files = {};
};

// Writes a model directory in the form of Hugging Face: config.json with the tensors' type,
// model.safetensors, the source's tokenizer and, for a language model, its generation_config.json,
// crrelu.py for an activation that transformers must be told of, and more files. Writes it
// completely and durably or not at all, from where the parameters lie. Returns ALREADY_EXISTS
// unless `out` is absent or empty, NOT_FOUND if its parent is, RESOURCE_EXHAUSTED if the disk is
// full, and the errors of HeadLabels() for the config.
absl::Status WriteResult(const TrainableParameters& parameters, const ResultOptions& options,
                         const std::string& out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_RESULT_H_
