#include "server/rpc/generation_request.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/generate/sampling.h"
#include "server/errors.h"
#include "server/registry/model_loader.h"
#include "server/rpc/refusal.h"

namespace whipsnake::server {
namespace {

using engine::InvalidField;

constexpr int kMaxClientCharacters = 128;

absl::Status CheckLength(std::string_view field, const std::string& name, int64_t most) {
  const int64_t characters = engine::CountCharacters(name);
  if (characters <= most) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(characters, " characters"),
                      absl::StrCat("at most ", most));
}

absl::StatusOr<engine::RequestPriority> ResolvePriority(v1::RequestPriority priority) {
  switch (priority) {
    case v1::REQUEST_PRIORITY_HIGH:
      return engine::RequestPriority::kHigh;
    case v1::REQUEST_PRIORITY_UNSPECIFIED:
    case v1::REQUEST_PRIORITY_NORMAL:
      return engine::RequestPriority::kNormal;
    case v1::REQUEST_PRIORITY_LOW:
      return engine::RequestPriority::kLow;
    default:
      return InvalidField("priority", absl::StrCat(priority),
                          "REQUEST_PRIORITY_HIGH, _NORMAL or _LOW");
  }
}

absl::StatusOr<std::shared_ptr<engine::Constraint>> ResolveStructured(
    const v1::StructuredOutput& structured, const GenerationContext& context) {
  const auto spec = ConstraintSpecOf(structured);
  if (!spec) return nullptr;
  if (context.compiled != nullptr) return context.compiled;
  auto constraint = context.constraints.GetOrCompile(*spec);
  if (!constraint.ok()) return WithFieldPrefix(constraint.status(), "structured.");
  return constraint;
}

absl::StatusOr<int> ResolveTopLogprobs(const v1::OutputOptions& output) {
  if (!output.has_logprobs()) return -1;
  if (output.logprobs() >= 0) return output.logprobs();
  return InvalidField("output.logprobs", absl::StrCat(output.logprobs()), "at least 0");
}

absl::StatusOr<std::vector<int32_t>> ResolvePrompt(const v1::GenerationParameters& parameters,
                                                   const GenerationContext& context,
                                                   int64_t max_tokens) {
  std::string field = "text";
  std::vector<int32_t> prompt;
  // A state that has read all of its tokens must read another one before it gives logits.
  const bool may_be_empty = context.resume != nullptr &&
                            context.resume->state->position() < std::ssize(context.resume->tokens);
  switch (parameters.prompt_case()) {
    case v1::GenerationParameters::kText: {
      ASSIGN_OR_RETURN(prompt, context.tokenizer.Encode(parameters.text()));
      break;
    }
    case v1::GenerationParameters::kTokenIds:
      field = "token_ids.ids";
      prompt.assign(parameters.token_ids().ids().begin(), parameters.token_ids().ids().end());
      break;
    case v1::GenerationParameters::PROMPT_NOT_SET:
      if (may_be_empty) break;
      return InvalidField("prompt", "nothing", "text or token_ids");
  }
  const int64_t min_tokens = may_be_empty ? 0 : 1;
  if (std::ssize(prompt) < min_tokens || std::ssize(prompt) > max_tokens) {
    return InvalidField(field, absl::StrCat(prompt.size(), " tokens"),
                        absl::StrCat(min_tokens, " to ", max_tokens));
  }
  RETURN_IF_ERROR(engine::ValidateTokenIds(field, prompt, context.info.vocab_size));
  return prompt;
}

// Returns the prompt preceded by the tokens of the state that it continues.
absl::StatusOr<std::vector<int32_t>> AfterState(std::vector<int32_t> prompt,
                                                const GenerationContext& context) {
  if (context.resume == nullptr) return prompt;
  std::vector<int32_t> whole = context.resume->tokens;
  whole.insert(whole.end(), prompt.begin(), prompt.end());
  const int64_t most = context.info.max_positions;
  if (most > 0 && std::ssize(whole) > most) {
    return InvalidField("state", absl::StrCat(whole.size(), " tokens with the prompt's"),
                        absl::StrCat("at most the model's ", most));
  }
  return whole;
}

// Returns (best_of, n): how many completions to generate, and how many to return.
absl::StatusOr<std::pair<int, int>> ResolveCompletions(const v1::GenerationParameters& parameters,
                                                       GenerationKind kind) {
  const int n = parameters.has_n() ? parameters.n() : 1;
  if (n < 1 || n > engine::kMaxCompletions) {
    return InvalidField("n", absl::StrCat(n), absl::StrCat("1 to ", engine::kMaxCompletions));
  }
  const int best_of = parameters.has_best_of() ? parameters.best_of() : n;
  const int most = kind == GenerationKind::kStream ? n : engine::kMaxCompletions;
  if (best_of >= n && best_of <= most) return std::pair(best_of, n);
  if (kind == GenerationKind::kStream) {
    return InvalidField("best_of", absl::StrCat(best_of),
                        absl::StrCat("n, ", n, ": a stream cannot take back what it has sent"));
  }
  return InvalidField("best_of", absl::StrCat(best_of), absl::StrCat("n, ", n, ", to ", most));
}

absl::StatusOr<int64_t> ResolveMaxNewTokens(const v1::Stopping& stopping,
                                            const GenerationContext& context,
                                            int64_t prompt_tokens) {
  if (context.kind == GenerationKind::kSaveState) return 0;
  int64_t limit = LimitsFor(context.limits, context.info).new_tokens;
  if (context.info.max_positions > 0) {
    limit = std::min(limit, context.info.max_positions - prompt_tokens + 1);
  }
  if (!stopping.has_max_new_tokens()) {
    return std::min(context.defaults.max_new_tokens.value_or(kDefaultMaxNewTokens), limit);
  }
  if (stopping.max_new_tokens() < 1 || stopping.max_new_tokens() > limit) {
    return InvalidField("stopping.max_new_tokens", std::to_string(stopping.max_new_tokens()),
                        "1 to " + std::to_string(limit));
  }
  return stopping.max_new_tokens();
}

// Books what the call keeps of a response: the whole of it, as a message and as bytes, if it is
// unary; of a stream, the messages of tokens that the client has not read. The echo is kept once,
// and once more in each message that has it.
void BookResult(const std::string& echo, GenerationKind kind, engine::GenerationRequest* request) {
  constexpr int64_t kTextAndId = 48, kLogprob = 160;
  const bool unary = kind != GenerationKind::kStream;
  request->result_token_bytes = kTextAndId + (request->top_logprobs + 1) * kLogprob;
  request->keeps_result = unary;
  request->result_bytes = std::ssize(echo) * (unary ? 1 + 2 * request->completions : 2);
}

// To be called when the rest of the request is resolved.
absl::Status ResolveNewTokens(const v1::Stopping& stopping, const GenerationContext& context,
                              engine::GenerationRequest* request) {
  ASSIGN_OR_RETURN(request->max_new_tokens,
                   ResolveMaxNewTokens(stopping, context, std::ssize(request->prompt)));
  return engine::ValidateNewTokens(*request);
}

v1::Sampling ToProto(const engine::SamplingParameters& sampling) {
  v1::Sampling proto;
  proto.set_temperature(sampling.temperature);
  proto.set_top_k(static_cast<int32_t>(sampling.top_k));
  proto.set_top_p(sampling.top_p);
  proto.set_min_p(sampling.min_p);
  proto.set_repetition_penalty(sampling.repetition_penalty);
  proto.set_presence_penalty(sampling.presence_penalty);
  proto.set_frequency_penalty(sampling.frequency_penalty);
  proto.mutable_logit_bias()->insert(sampling.logit_bias.begin(), sampling.logit_bias.end());
  proto.set_seed(sampling.seed);
  return proto;
}

}  // namespace

GenerationLimits LimitsFor(const GenerationLimits& limits, const engine::ModelInfo& info) {
  if (info.max_positions == 0) return limits;
  // The last generated token needs no position.
  return {std::min(limits.prompt_tokens, info.max_positions),
          std::min(limits.new_tokens, info.max_positions)};
}

std::optional<engine::ConstraintSpec> ConstraintSpecOf(const v1::StructuredOutput& structured) {
  using Kind = engine::ConstraintSpec::Kind;
  switch (structured.form_case()) {
    case v1::StructuredOutput::kRegex:
      return engine::ConstraintSpec{Kind::kRegex, {structured.regex()}};
    case v1::StructuredOutput::kChoices:
      return engine::ConstraintSpec{
          Kind::kChoices,
          {structured.choices().texts().begin(), structured.choices().texts().end()}};
    case v1::StructuredOutput::kJsonSchema:
      return engine::ConstraintSpec{Kind::kJsonSchema, {structured.json_schema()}};
    case v1::StructuredOutput::FORM_NOT_SET:
      break;
  }
  return std::nullopt;
}

engine::SamplingParameters ResolveSampling(const v1::Sampling& sampling,
                                           const engine::GenerationDefaults& defaults) {
  engine::SamplingParameters result = DefaultSampling(defaults);
  if (sampling.has_temperature()) result.temperature = sampling.temperature();
  if (sampling.has_top_k()) result.top_k = sampling.top_k();
  if (sampling.has_top_p()) result.top_p = sampling.top_p();
  if (sampling.has_min_p()) result.min_p = sampling.min_p();
  if (sampling.has_repetition_penalty()) result.repetition_penalty = sampling.repetition_penalty();
  if (sampling.has_presence_penalty()) result.presence_penalty = sampling.presence_penalty();
  if (sampling.has_frequency_penalty()) result.frequency_penalty = sampling.frequency_penalty();
  result.logit_bias = {sampling.logit_bias().begin(), sampling.logit_bias().end()};
  result.seed = sampling.has_seed() ? sampling.seed() : RandomNumber();
  return result;
}

StateRetention RetentionOf(const v1::StateRetention& retention) {
  StateRetention result;
  if (retention.has_time_to_live()) {
    const google::protobuf::Duration& time = retention.time_to_live();
    // Larger than any limit, so that the product cannot overflow.
    constexpr int64_t kMostSeconds = int64_t{1} << 40;
    result.time_to_live = std::chrono::milliseconds(
        std::clamp(time.seconds(), -kMostSeconds, kMostSeconds) * 1000 + time.nanos() / 1'000'000);
  }
  if (retention.on_disk()) result.on_disk = true;
  return result;
}

absl::StatusOr<ResolvedGeneration> ResolveGeneration(const v1::GenerationParameters& parameters,
                                                     const GenerationContext& context) {
  const GenerationLimits limits = LimitsFor(context.limits, context.info);
  const v1::Stopping& stopping = parameters.stopping();
  const v1::OutputOptions& output = parameters.output();
  ResolvedGeneration result;
  engine::GenerationRequest& request = result.request;
  engine::FieldErrors errors;
  errors.Add(CheckLength("request_id", parameters.request_id(), kMaxRequestIdCharacters));
  errors.Add(CheckLength("client", parameters.client(), kMaxClientCharacters));
  errors.Add(ResolvePriority(parameters.priority()), &request.priority);
  request.client = parameters.client();
  std::pair<int, int> completions(1, 1);
  errors.Add(ResolveCompletions(parameters, context.kind), &completions);
  std::tie(request.completions, result.n) = completions;
  request.sampling = ResolveSampling(parameters.sampling(), context.defaults);
  errors.Add(ResolveTopLogprobs(output), &request.top_logprobs);
  result.return_logprobs = request.top_logprobs >= 0;
  // The best completions are chosen by their log-probabilities.
  if (request.completions > result.n) request.top_logprobs = std::max(request.top_logprobs, 0);
  errors.Add(ResolveStructured(parameters.structured(), context), &request.constraint);
  request.min_new_tokens = stopping.min_new_tokens();
  request.stop_texts.assign(stopping.stop_texts().begin(), stopping.stop_texts().end());
  request.stop_token_ids.assign(stopping.stop_token_ids().begin(), stopping.stop_token_ids().end());
  if (!stopping.ignore_eos()) request.eos_token_ids = context.defaults.eos_token_ids;
  errors.Add(engine::ValidateParameters(request, context.info));

  std::vector<int32_t> prompt;
  const bool has_prompt =
      errors.Add(ResolvePrompt(parameters, context, limits.prompt_tokens), &prompt);
  if (has_prompt && output.echo()) {
    result.echo = parameters.has_text() ? parameters.text() : context.tokenizer.Decode(prompt);
  }
  request.resume = context.resume;
  request.save_state = output.has_save_state() || context.kind == GenerationKind::kSaveState;
  errors.Add(AfterState(std::move(prompt), context), &request.prompt);
  errors.Add(ResolveNewTokens(stopping, context, &request));
  RETURN_IF_ERROR(errors.status());
  BookResult(result.echo, context.kind, &request);

  result.prompt_tokens = std::ssize(request.prompt);
  result.return_token_ids = output.token_ids();
  result.parameters.set_model(context.model);
  *result.parameters.mutable_sampling() = ToProto(request.sampling);
  result.parameters.set_max_new_tokens(static_cast<int32_t>(request.max_new_tokens));
  result.parameters.set_n(result.n);
  return result;
}

}  // namespace whipsnake::server
