// Turns what a client asks for into a request for a Generator. All defaults are filled in and all
// fields are checked here, once, before anything is queued. Every front end fills in the same
// GenerationParameters: gRPC does, and a front end for HTTP will.
#ifndef WHIPSNAKE_ENGINE_GENERATE_GENERATION_PARAMETERS_H_
#define WHIPSNAKE_ENGINE_GENERATE_GENERATION_PARAMETERS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/generation_config.h"
#include "engine/generate/generator.h"
#include "engine/generate/sampling.h"
#include "engine/generate/saved_state.h"
#include "engine/models/model.h"
#include "engine/structured/constraint_cache.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

inline constexpr int kMaxRequestIdCharacters = 128;

// What a client asks for, before anything is checked. A field that the client left out is unset.
// The views must stay valid until ResolveGeneration returns.
struct GenerationParameters {
  // As in SamplingParameters. Unset fields come from the model's generation_config.json, and
  // otherwise have the defaults of SamplingParameters. An unset seed is random.
  struct Sampling {
    std::optional<float> temperature;
    std::optional<int64_t> top_k;
    std::optional<float> top_p;
    std::optional<float> min_p;
    std::optional<float> repetition_penalty;
    std::optional<float> presence_penalty;
    std::optional<float> frequency_penalty;
    std::map<int32_t, float> logit_bias;
    std::optional<int64_t> no_repeat_ngram_size;
    std::optional<uint64_t> seed;
  };
  struct Stopping {
    // Unset: that of generation_config.json, otherwise 256; less if a limit is lower.
    std::optional<int64_t> max_new_tokens;
    std::vector<std::string> stop_texts;  // at most 16, each of 1 to 256 bytes
    std::vector<int32_t> stop_token_ids;  // at most 64
    bool ignore_eos = false;              // continue past the model's end-of-sequence tokens
    int64_t min_new_tokens = 0;           // 0 to max_new_tokens
  };
  struct Output {
    bool token_ids = false;
    std::optional<int> logprobs;  // best tokens beside each chosen one, 0 to 20; unset: no logprobs
    bool echo = false;            // start the text with the prompt's
    bool save_state = false;      // save the state at the end of each completion
  };

  std::string_view request_id;  // at most kMaxRequestIdCharacters; the front end sends it back
  std::string client;           // at most 128 characters
  // An error is the front end's, about a priority that it does not know.
  absl::StatusOr<RequestPriority> priority = RequestPriority::kNormal;
  std::optional<int> n;        // completions to return, 1 to 64; unset: 1
  std::optional<int> best_of;  // completions to generate, n to 64, only n in a stream; unset: n
  Sampling sampling;
  std::optional<ConstraintSpec> structured;
  Stopping stopping;
  Output output;
  // Nothing, a UTF-8 text, or token ids.
  std::variant<std::monostate, std::string_view, std::vector<int32_t>> prompt;
  // How a text becomes tokens. Nothing is added to a text that follows a state.
  EncodeOptions tokenization = {.add_special_tokens = true};
  // The saved state that the prompt follows. The prompt may then be empty if the state has not read
  // its last token. Null: none.
  std::shared_ptr<const SavedState> resume;
};

// What becomes of the output.
enum class GenerationKind {
  kUnary,      // it is sent when it is complete
  kStream,     // it is sent as it is generated
  kSaveState,  // there is none: the prompt is read and the resulting state is saved
};

// The operator's limits for one request.
struct GenerationLimits {
  int64_t prompt_tokens = 32768;
  int64_t new_tokens = 16384;
};

// Returns the limits reduced to the model's positions.
GenerationLimits LimitsFor(const GenerationLimits& limits, const ModelInfo& info);

// What a request is resolved against. The objects must outlive the call.
struct GenerationContext {
  GenerationKind kind = GenerationKind::kUnary;
  const ModelInfo& info;
  const Tokenizer& tokenizer;
  const GenerationDefaults& defaults;
  ConstraintCache& constraints;
  GenerationLimits limits;  // the operator's
  // The compiled form of the parameters' `structured`, if the caller has it; null: from
  // `constraints`, which compiles it if it must.
  std::shared_ptr<Constraint> compiled = nullptr;
};

struct ResolvedGeneration {
  // Valid for Generator::Submit. The caller sets arrival and deadline. `sampling` and
  // `max_new_tokens` are the values in force, which a front end tells the client.
  GenerationRequest request;
  int64_t prompt_tokens = 0;  // of the request, with those of the state that it continues
  int n = 1;                  // completions to return
  bool return_token_ids = false;
  bool return_logprobs = false;
  std::string echo;  // precedes each completion's text
};

// Returns INVALID_ARGUMENT with the paths of all wrong fields. A path is that of the field in
// GenerationParameters, such as "sampling.top_p", with three exceptions: the prompt is "text",
// "token_ids.ids" or, if there is none, "prompt"; a structured output has the name of its form,
// such as "structured.regex"; a state that is too long for the model is "state". Returns
// FAILED_PRECONDITION for a model that is not a language model, and the errors of
// Tokenizer::Encode and ConstraintCache::GetOrCompile. Thread-safe.
absl::StatusOr<ResolvedGeneration> ResolveGeneration(GenerationParameters parameters,
                                                     const GenerationContext& context);

// Returns the parameters that apply if a client sets none. They are not checked (Validate).
SamplingParameters DefaultSampling(const GenerationDefaults& defaults);

// Returns how many tokens a request generates at most if it does not say so, before the length of
// its prompt is known.
int64_t DefaultMaxNewTokens(const GenerationDefaults& defaults, const GenerationLimits& limits);

// Returns INVALID_ARGUMENT, naming the element ("stop_token_ids[1]"), unless all ids are from 0 to
// vocab_size - 1.
absl::Status ValidateTokenIds(std::string_view field, std::span<const int32_t> ids,
                              int64_t vocab_size);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_GENERATION_PARAMETERS_H_
