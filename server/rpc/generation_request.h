// Converts a GenerationParameters message to a request for the engine. Defaults are filled in and
// every field is checked before anything is queued.
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

// The operator's limits for one request.
struct GenerationLimits {
  int64_t prompt_tokens = 32768;
  int64_t new_tokens = 16384;
};

// Returns the limits reduced to the model's positions.
GenerationLimits LimitsFor(const GenerationLimits& limits, const engine::ModelInfo& info);

// What to do with the engine's stream.
enum class GenerationKind {
  kUnary,
  kStream,
  kSaveState,  // read the prompt and save the resulting state
};

// What a request is resolved against.
struct GenerationContext {
  GenerationKind kind = GenerationKind::kUnary;
  const std::string& model;
  const engine::ModelInfo& info;
  const engine::Tokenizer& tokenizer;
  const engine::GenerationDefaults& defaults;
  engine::ConstraintCache& constraints;
  GenerationLimits limits;                                     // the operator's
  std::shared_ptr<const engine::SavedState> resume = nullptr;  // the state of parameters.state
  // The compiled form of parameters.structured, if the caller has it; null: from `constraints`.
  std::shared_ptr<engine::Constraint> compiled = nullptr;
};

struct ResolvedGeneration {
  engine::GenerationRequest request;  // the caller sets arrival and deadline
  v1::ResolvedParameters parameters;
  int64_t prompt_tokens = 0;
  int n = 1;  // completions to return
  bool return_token_ids = false;
  bool return_logprobs = false;
  std::string echo;  // precedes each completion's text
};

// Converts the message. Unset fields take the store's defaults.
StateRetention RetentionOf(const v1::StateRetention& retention);

// Unset fields come from the model's generation_config.json, and otherwise take the defaults in the
// proto. An unset seed is random.
engine::SamplingParameters ResolveSampling(const v1::Sampling& sampling,
                                           const engine::GenerationDefaults& defaults);

// Returns the constraint on the output, or nullopt if it is unconstrained.
std::optional<engine::ConstraintSpec> ConstraintSpecOf(const v1::StructuredOutput& structured);

// Returns INVALID_ARGUMENT with the paths of all wrong fields, relative to the parameters, such as
// "sampling.top_p". The caller sets the request id.
absl::StatusOr<ResolvedGeneration> ResolveGeneration(const v1::GenerationParameters& parameters,
                                                     const GenerationContext& context);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_REQUEST_H_
