// Loads a model directory into everything that generation needs.
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_LOADER_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_LOADER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/generation_config.h"
#include "engine/generate/generator.h"
#include "engine/models/model.h"
#include "engine/structured/constraint_cache.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::server {

// Members are destroyed from the bottom up: each uses those above it.
struct ModelParts {
  std::unique_ptr<engine::Model> model;
  std::vector<std::string> warnings;  // for the log: what a client may not expect
  std::string digest;  // models with the same digest can continue each other's states
  std::unique_ptr<engine::Tokenizer> tokenizer;
  engine::GenerationDefaults defaults;
  std::unique_ptr<engine::ConstraintCache> constraints;
  std::unique_ptr<engine::Generator> generator;
};

// The observer must outlive the parts. May be called on any thread, and for several models
// concurrently.
using ModelLoader = std::function<absl::StatusOr<ModelParts>(const std::string& directory,
                                                             const engine::ModelOptions& options,
                                                             engine::GenerationObserver* observer)>;

// Loads Hugging Face directories: config.json, safetensors, the tokenizer's files, and
// generation_config.json if it exists. A tokenizer may have ids that the model does not have.
// Refuses defaults for which a request would be refused. The objects that `environment` points to
// must outlive the loader and its models.
ModelLoader MakeDirectoryLoader(const engine::ModelEnvironment& environment,
                                const engine::GeneratorOptions& options);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_LOADER_H_
