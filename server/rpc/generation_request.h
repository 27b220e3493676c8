// From a GenerationParameters message to a request that the engine can be given: defaults filled
// in, every field checked, before anything is queued.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_REQUEST_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/generation_config.h"
#include "engine/generate/generator.h"
#include "engine/models/model.h"
#include "engine/structured/constraint_cache.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/registry/state_store.h"
#include "whipsnake/v1/generation.pb.h"

namespace whipsnake::server {

// What the operator allows one request.
struct GenerationLimits {
  int64_t prompt_tokens = 32768;
  int64_t new_tokens = 16384;
};

// The same with a model's last position in mind.
GenerationLimits LimitsFor(const GenerationLimits& limits, const engine::ModelInfo& info);

// What is done with the engine's stream.
enum class GenerationKind {
  kUnary,
  kStream,
  kSaveState,  // the prompt is read, and the state that it ends in kept
};

// What the request is resolved against.
struct GenerationContext {
  GenerationKind kind = GenerationKind::kUnary;
  const std::string& model;
  const engine::ModelInfo& info;
  const engine::Tokenizer& tokenizer;
  const engine::GenerationDefaults& defaults;
  engine::ConstraintCache& constraints;
  GenerationLimits limits;                                     // the operator's
  std::shared_ptr<const engine::SavedState> resume = nullptr;  // what parameters.state names
  // What parameters.structured asks for, where the caller has it; null: from `constraints`.
  std::shared_ptr<engine::Constraint> compiled = nullptr;
};

struct ResolvedGeneration {
  engine::GenerationRequest request;  // arrival and deadline are the caller's to set
  v1::ResolvedParameters parameters;
  int64_t prompt_tokens = 0;
  int n = 1;  // completions to be returned, of those that are made
  bool return_token_ids = false;
  bool return_logprobs = false;
  std::string echo;  // goes before each completion's text
};

// What a message says of it; what it does not say is the store's to choose.
StateRetention RetentionOf(const v1::StateRetention& retention);

// What the request does not set comes from the model's generation_config.json, then from the
// defaults that the proto names; the seed is made up.
engine::SamplingParameters ResolveSampling(const v1::Sampling& sampling,
                                           const engine::GenerationDefaults& defaults);

// What the output is to be held to; nothing where it is free.
std::optional<engine::ConstraintSpec> ConstraintSpecOf(const v1::StructuredOutput& structured);

// INVALID_ARGUMENT with the paths of all fields that are wrong, below the parameters, such as
// "sampling.top_p". The request id is the caller's to choose.
absl::StatusOr<ResolvedGeneration> ResolveGeneration(const v1::GenerationParameters& parameters,
                                                     const GenerationContext& context);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_REQUEST_H_
