#include "server/registry/model_loader.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_join.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_digest.h"
#include "engine/generate/generation_parameters.h"
#include "engine/generate/sampling.h"
#include "engine/models/config.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

void LogUnusedTensors(const std::string& directory, const engine::UnusedTensors& unused) {
  if (unused.count == 0) return;
  LogLimited(LogLevel::kInfo, "tensors that the model does not have are ignored",
             {{"directory", directory}, {"tensors", unused.text()}});
}

// Reads generation_config.json. The end-of-sequence tokens come from config.json if it has none.
absl::StatusOr<engine::GenerationDefaults> LoadDefaults(const std::string& directory,
                                                        const engine::ModelConfig& config,
                                                        int64_t vocab_size) {
  engine::GenerationDefaults defaults;
  defaults.eos_token_ids = config.eos_token_ids;
  const std::string path = directory + "/generation_config.json";
  const absl::StatusOr<std::string> text = engine::ReadTextFile(path);
  if (text.ok()) {
    auto parsed = engine::ParseGenerationConfig(*text, defaults);
    if (!parsed.ok()) return engine::WithPath(parsed.status(), path);
    defaults = *std::move(parsed);
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  const absl::Status valid = engine::Validate(engine::DefaultSampling(defaults), vocab_size);
  if (!valid.ok()) return engine::WithPath(valid, path);
  return defaults;
}

absl::Status CheckDirectory(const std::string& directory) {
  struct stat info;
  if (stat(directory.c_str(), &info) != 0) return engine::FileError(errno, directory);
  return S_ISDIR(info.st_mode) ? absl::OkStatus() : engine::FileError(ENOTDIR, directory);
}

std::vector<std::string> FindWarnings(const engine::Tokenizer& tokenizer,
                                      const engine::ModelInfo& info,
                                      const engine::GenerationDefaults& defaults) {
  std::vector<std::string> warnings;
  if (tokenizer.size() > info.vocab_size) {
    warnings.push_back(
        absl::StrCat("the tokenizer has ", tokenizer.size(), " ids and the model ", info.vocab_size,
                     ": prompts with the others are refused, and they are never generated"));
  }
  std::vector<int32_t> foreign;
  for (const int32_t id : defaults.eos_token_ids) {
    if (id < 0 || id >= info.vocab_size) foreign.push_back(id);
  }
  if (!foreign.empty()) {
    warnings.push_back(absl::StrCat("the model, of ", info.vocab_size,
                                    " ids, has no end-of-sequence token ",
                                    absl::StrJoin(foreign, ", "), ": it never ends a text"));
  }
  if (const std::string caveat = tokenizer.Caveat(); !caveat.empty()) warnings.push_back(caveat);
  if (!defaults.ignored.empty()) {
    warnings.push_back(absl::StrCat("generation_config.json asks for what is not done: ",
                                    absl::StrJoin(defaults.ignored, ", ")));
  }
  return warnings;
}

}  // namespace

ModelLoader MakeDirectoryLoader(const engine::ModelEnvironment& environment,
                                const engine::GeneratorOptions& options) {
  return [environment, options](
             const std::string& directory, const engine::ModelOptions& model_options,
             engine::GenerationObserver* observer) -> absl::StatusOr<ModelParts> {
    ModelParts parts;
    RETURN_IF_ERROR(CheckDirectory(directory));
    // Load the tokenizer first: it is small, and a directory without one is refused before weights
    // are read.
    ASSIGN_OR_RETURN(parts.tokenizer, engine::Tokenizer::LoadDirectory(directory));
    ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ReadModelConfig(directory));
    ASSIGN_OR_RETURN(const std::shared_ptr<const engine::Checkpoint> checkpoint,
                     engine::Checkpoint::Open(directory));
    auto model = engine::LoadModel(config, checkpoint, model_options, environment);
    if (!model.ok()) return engine::WithPath(model.status(), directory);
    parts.model = *std::move(model);
    const engine::ModelInfo& info = parts.model->info();
    LogUnusedTensors(directory, info.unused_tensors);
    // Other models cannot be served yet.
    if (absl::Status status = engine::CheckLanguageModel(info); !status.ok()) {
      return engine::WithPath(status, directory);
    }
    ASSIGN_OR_RETURN(parts.digest, engine::DigestModel(directory, *checkpoint));
    absl::StrAppend(&parts.digest, "-", engine::ToAbsl(engine::Name(info.scheme)), "-",
                    info.state_bytes);
    ASSIGN_OR_RETURN(parts.defaults, LoadDefaults(directory, config, info.vocab_size));
    parts.warnings = FindWarnings(*parts.tokenizer, info, parts.defaults);
    parts.constraints = std::make_unique<engine::ConstraintCache>(
        std::make_shared<engine::VocabularyTrie>(*parts.tokenizer, info.vocab_size),
        engine::ConstraintCacheOptions{.limits = {}, .ledger = environment.ledger});
    engine::GeneratorOptions generator_options = options;
    generator_options.ledger = environment.ledger;
    generator_options.executor = environment.executor;
    auto generator = engine::MakeGenerator(parts.model.get(), parts.tokenizer.get(),
                                           generator_options, observer);
    if (!generator.ok()) return engine::WithPath(generator.status(), directory);
    parts.generator = *std::move(generator);
    return parts;
  };
}

}  // namespace whipsnake::server
