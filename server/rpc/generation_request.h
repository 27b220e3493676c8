// Copies the fields of generation messages to the engine's types, and the resolved parameters back.
// engine::ResolveGeneration has the defaults and the limits.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_REQUEST_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_REQUEST_H_

#include <optional>

#include "engine/generate/generation_parameters.h"
#include "engine/structured/constraint.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/registry/state_store.h"
#include "whipsnake/v1/generation.pb.h"

namespace whipsnake::server {

// Converts the message, which must outlive the result. An unknown priority becomes an error in the
// result. The caller loads the state to resume.
engine::GenerationParameters ToEngine(const v1::GenerationParameters& parameters);

// Converts the message. By default special tokens are added.
engine::EncodeOptions EncodeOptionsOf(const v1::Tokenization& tokenization);

// Returns the constraint on the output, or nullopt if it is unconstrained.
std::optional<engine::ConstraintSpec> ConstraintSpecOf(const v1::StructuredOutput& structured);

// Converts the message. Unset fields take the store's defaults.
StateRetention RetentionOf(const v1::StateRetention& retention);

// Returns the values in force. The caller sets the model and the request id.
v1::ResolvedParameters ResolvedParametersOf(const engine::ResolvedGeneration& resolved);

// Returns the values of the parameters that a request for such a model leaves unset. `limits` are
// the model's.
v1::GenerationDefaults GenerationDefaultsOf(const engine::GenerationDefaults& defaults,
                                            const engine::GenerationLimits& limits);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_REQUEST_H_
