#include "engine/models/random_model.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/models/config.h"
#include "engine/models/family.h"
#include "engine/models/parameter_spec.h"
#include "engine/tokenizer/random_tokenizer.h"

namespace whipsnake::engine {
namespace {

std::string MakeGenerationConfig(const ModelConfig& config) {
  // The generated tokenizer has one special token, 0, which replaces ids that it does not have.
  std::vector<int32_t> eos = config.eos_token_ids;
  for (int32_t& id : eos) id = id < config.tokenizer_size ? id : 0;
  return absl::StrCat("{\n  \"bos_token_id\": 0,\n  \"eos_token_id\": [", absl::StrJoin(eos, ", "),
                      "],\n  \"pad_token_id\": 0\n}\n");
}

}  // namespace

absl::Status WriteRandomModel(std::string_view config_json, uint64_t seed,
                              const std::string& directory,
                              const std::function<void(double)>& progress) {
  ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(config_json));
  if (config.tokenizer_size < kSmallestByteVocabulary) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size: ", config.tokenizer_size, " seen, expected at least ",
                     kSmallestByteVocabulary, ", <|endoftext|> and 256 bytes"));
  }
  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(directory));
  const int64_t bytes = config.parameters * static_cast<int64_t>(sizeof(float));
  RETURN_IF_ERROR(CheckDiskSpace(made.path(), bytes));

  const std::filesystem::path path = made.path();
  RETURN_IF_ERROR(WriteFileAtomically(path / "config.json", config_json));
  RETURN_IF_ERROR(
      WriteFileAtomically(path / "generation_config.json", MakeGenerationConfig(config)));
  RETURN_IF_ERROR(
      WriteFileAtomically(path / "tokenizer.json", MakeByteLevelTokenizer(config.tokenizer_size)));
  const std::vector<ParameterSpec> parameters = config.family->parameters(config);
  RETURN_IF_ERROR(
      WriteSafetensors(path / "model.safetensors", InitialTensors(parameters, seed, progress)));
  return made.Commit();
}

}  // namespace whipsnake::engine
