// From a model directory to something that generates.
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_LOADER_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_LOADER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/generation_config.h"
#include "engine/generate/generator.h"
#include "engine/models/model.h"
#include "engine/structured/constraint_cache.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::server {

// Destroyed from the bottom up: each part uses those above it.
struct ModelParts {
  std::unique_ptr<engine::Model> model;
  std::string digest;  // two models of one digest continue each other's states
  std::unique_ptr<engine::Tokenizer> tokenizer;
  engine::GenerationDefaults defaults;
  std::unique_ptr<engine::ConstraintCache> constraints;
  std::unique_ptr<engine::Generator> generator;
};

// The observer outlives the parts. Called from any thread, for different models at once.
using ModelLoader = std::function<absl::StatusOr<ModelParts>(const std::string& directory,
                                                             const engine::ModelOptions& options,
                                                             engine::GenerationObserver* observer)>;

// Loads Hugging Face directories: config.json, safetensors, tokenizer.json, generation_config.json
// if it is there. Refuses a tokenizer that has ids which the model lacks, and defaults that a
// request would be refused for. What the environment points to outlives the loader and its models.
ModelLoader MakeDirectoryLoader(const engine::ModelEnvironment& environment,
                                const engine::GeneratorOptions& options);

// What holds where neither the request nor the model says otherwise.
engine::SamplingParameters DefaultSampling(const engine::GenerationDefaults& defaults);
inline constexpr int64_t kDefaultMaxNewTokens = 256;

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_LOADER_H_
