#include "engine/generate/generation_parameters.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "engine/base/field_errors.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/known_tokens.h"

namespace whipsnake::engine {
namespace {

constexpr int kMaxClientCharacters = 128;
constexpr int kMaxCompletions = 64;
constexpr size_t kMaxStopTexts = 16;
constexpr size_t kMaxStopTextBytes = 256;
constexpr size_t kMaxStopTokens = 64;
constexpr int kMaxTopLogprobs = 20;
constexpr int64_t kDefaultMaxNewTokens = 256;

absl::Status CheckLength(std::string_view field, std::string_view name, int64_t most) {
  const int64_t characters = CountCharacters(name);
  if (characters <= most) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(characters, " characters"),
                      absl::StrCat("at most ", most));
}

// Returns (best_of, n): how many completions to generate, and how many to return.
absl::StatusOr<std::pair<int, int>> ResolveCompletions(const GenerationParameters& parameters,
                                                       GenerationKind kind) {
  const int n = parameters.n.value_or(1);
  if (n < 1 || n > kMaxCompletions) {
    return InvalidField("n", absl::StrCat(n), absl::StrCat("1 to ", kMaxCompletions));
  }
  const int best_of = parameters.best_of.value_or(n);
  const int most = kind == GenerationKind::kStream ? n : kMaxCompletions;
  if (best_of >= n && best_of <= most) return std::pair(best_of, n);
  if (kind == GenerationKind::kStream) {
    return InvalidField("best_of", absl::StrCat(best_of),
                        absl::StrCat("n, ", n, ": a stream cannot take back what it has sent"));
  }
  return InvalidField("best_of", absl::StrCat(best_of), absl::StrCat("n, ", n, ", to ", most));
}

SamplingParameters ResolveSampling(GenerationParameters::Sampling sampling,
                                   const GenerationDefaults& defaults) {
  SamplingParameters result = DefaultSampling(defaults);
  result.temperature = sampling.temperature.value_or(result.temperature);
  result.top_k = sampling.top_k.value_or(result.top_k);
  result.top_p = sampling.top_p.value_or(result.top_p);
  result.min_p = sampling.min_p.value_or(result.min_p);
  result.repetition_penalty = sampling.repetition_penalty.value_or(result.repetition_penalty);
  result.presence_penalty = sampling.presence_penalty.value_or(result.presence_penalty);
  result.frequency_penalty = sampling.frequency_penalty.value_or(result.frequency_penalty);
  result.logit_bias = std::move(sampling.logit_bias);
  result.no_repeat_ngram_size = sampling.no_repeat_ngram_size.value_or(result.no_repeat_ngram_size);
  result.seed = sampling.seed ? *sampling.seed : RandomNumber();
  return result;
}

absl::StatusOr<int> ResolveTopLogprobs(std::optional<int> logprobs) {
  if (!logprobs) return -1;
  if (*logprobs >= 0) return *logprobs;
  return InvalidField("output.logprobs", absl::StrCat(*logprobs), "at least 0");
}

absl::StatusOr<std::shared_ptr<Constraint>> ResolveStructured(
    const std::optional<ConstraintSpec>& spec, const GenerationContext& context) {
  if (!spec) return nullptr;
  if (context.compiled != nullptr) return context.compiled;
  auto constraint = context.constraints.GetOrCompile(*spec);
  if (!constraint.ok()) return WithFieldPrefix(constraint.status(), "structured.");
  return constraint;
}

absl::Status CheckStopTexts(const std::vector<std::string>& texts) {
  if (texts.size() > kMaxStopTexts) {
    return InvalidField("stopping.stop_texts", absl::StrCat(texts.size(), " texts"),
                        absl::StrCat("at most ", kMaxStopTexts));
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty() || texts[i].size() > kMaxStopTextBytes) {
      return InvalidField(absl::StrCat("stopping.stop_texts[", i, "]"),
                          absl::StrCat(texts[i].size(), " bytes"),
                          absl::StrCat("1 to ", kMaxStopTextBytes));
    }
  }
  return absl::OkStatus();
}

// Refuses the parameters that contradict a structured output, which ends when it is complete.
absl::Status CheckConstrainedStopping(const GenerationRequest& request) {
  FieldErrors errors;
  const auto refuse = [&](std::string_view field, int64_t seen) {
    if (seen <= 0) return;
    errors.Add(InvalidField(field, absl::StrCat(seen),
                            "none with structured output, which ends when it is complete"));
  };
  refuse("stopping.stop_texts", std::ssize(request.stop_texts));
  refuse("stopping.stop_token_ids", std::ssize(request.stop_token_ids));
  refuse("stopping.min_new_tokens", request.min_new_tokens);
  return errors.status();
}

// Checks the resolved fields that depend neither on the prompt nor on max_new_tokens.
absl::Status CheckParameters(const GenerationRequest& request, const ModelInfo& info) {
  RETURN_IF_ERROR(CheckLanguageModel(info));
  FieldErrors errors;
  errors.Add(Validate(request.sampling, info.vocab_size));
  errors.Add(CheckStopTexts(request.stop_texts));
  if (request.constraint != nullptr) errors.Add(CheckConstrainedStopping(request));
  if (request.stop_token_ids.size() > kMaxStopTokens) {
    errors.Add(InvalidField("stopping.stop_token_ids",
                            absl::StrCat(request.stop_token_ids.size(), " ids"),
                            absl::StrCat("at most ", kMaxStopTokens)));
  }
  errors.Add(ValidateTokenIds("stopping.stop_token_ids", request.stop_token_ids, info.vocab_size));
  if (request.top_logprobs > kMaxTopLogprobs) {
    errors.Add(InvalidField("output.logprobs", absl::StrCat(request.top_logprobs),
                            absl::StrCat("0 to ", kMaxTopLogprobs)));
  }
  return errors.status();
}

absl::StatusOr<std::vector<int32_t>> ResolvePrompt(GenerationParameters& parameters,
                                                   const GenerationContext& context) {
  // A state that has read all of its tokens must read another one before it gives logits.
  const SavedState* resume = parameters.resume.get();
  const bool may_be_empty =
      resume != nullptr && resume->state->position() < std::ssize(resume->tokens);
  std::string_view field = "text";
  std::vector<int32_t> prompt;
  if (const auto* text = std::get_if<std::string_view>(&parameters.prompt)) {
    EncodeOptions options = parameters.tokenization;
    options.add_special_tokens &= resume == nullptr;
    ASSIGN_OR_RETURN(prompt, context.tokenizer.Encode(*text, options));
  } else if (auto* ids = std::get_if<std::vector<int32_t>>(&parameters.prompt)) {
    field = "token_ids.ids";
    prompt = std::move(*ids);
  } else if (!may_be_empty) {
    return InvalidField("prompt", "nothing", "text or token_ids");
  }
  const int64_t min_tokens = may_be_empty ? 0 : 1;
  const int64_t max_tokens = LimitsFor(context.limits, context.info).prompt_tokens;
  if (std::ssize(prompt) < min_tokens || std::ssize(prompt) > max_tokens) {
    return InvalidField(field, absl::StrCat(prompt.size(), " tokens"),
                        absl::StrCat(min_tokens, " to ", max_tokens));
  }
  RETURN_IF_ERROR(field == "text"
                      ? CheckKnownTokens(field, prompt, context.info.vocab_size, context.tokenizer)
                      : ValidateTokenIds(field, prompt, context.info.vocab_size));
  return prompt;
}

// Returns the prompt's text, or that of its tokens.
std::string EchoOf(const GenerationParameters& parameters, const std::vector<int32_t>& prompt,
                   const Tokenizer& tokenizer) {
  const auto* text = std::get_if<std::string_view>(&parameters.prompt);
  return text != nullptr ? std::string(*text) : tokenizer.Decode(prompt);
}

// Returns the prompt preceded by the tokens of the state that it continues.
absl::StatusOr<std::vector<int32_t>> AfterState(const SavedState* resume,
                                                std::vector<int32_t> prompt,
                                                int64_t max_positions) {
  if (resume == nullptr) return prompt;
  std::vector<int32_t> whole = resume->tokens;
  whole.insert(whole.end(), prompt.begin(), prompt.end());
  if (max_positions > 0 && std::ssize(whole) > max_positions) {
    return InvalidField("state", absl::StrCat(whole.size(), " tokens with the prompt's"),
                        absl::StrCat("at most the model's ", max_positions));
  }
  return whole;
}

absl::StatusOr<int64_t> ResolveMaxNewTokens(std::optional<int64_t> max_new_tokens,
                                            const GenerationContext& context,
                                            int64_t prompt_tokens) {
  if (context.kind == GenerationKind::kSaveState) return 0;
  int64_t limit = LimitsFor(context.limits, context.info).new_tokens;
  if (context.info.max_positions > 0) {
    limit = std::min(limit, context.info.max_positions - prompt_tokens + 1);
  }
  if (!max_new_tokens) {
    return DefaultMaxNewTokens(context.defaults, {.prompt_tokens = 0, .new_tokens = limit});
  }
  if (*max_new_tokens < 1 || *max_new_tokens > limit) {
    return InvalidField("stopping.max_new_tokens", absl::StrCat(*max_new_tokens),
                        absl::StrCat("1 to ", limit));
  }
  return *max_new_tokens;
}

// Sets max_new_tokens and checks it against the rest of the request, which is already resolved.
absl::Status ResolveNewTokens(std::optional<int64_t> max_new_tokens,
                              const GenerationContext& context, GenerationRequest* request) {
  ASSIGN_OR_RETURN(request->max_new_tokens,
                   ResolveMaxNewTokens(max_new_tokens, context, std::ssize(request->prompt)));
  if (request->constraint != nullptr &&
      request->max_new_tokens < request->constraint->shortest_tokens()) {
    return InvalidField("stopping.max_new_tokens", absl::StrCat(request->max_new_tokens),
                        absl::StrCat("at least ", request->constraint->shortest_tokens(),
                                     ", the tokens of the shortest structured output"));
  }
  if (request->min_new_tokens >= 0 && request->min_new_tokens <= request->max_new_tokens) {
    return absl::OkStatus();
  }
  return InvalidField("stopping.min_new_tokens", absl::StrCat(request->min_new_tokens),
                      absl::StrCat("0 to max_new_tokens, ", request->max_new_tokens));
}

// Books what the front end keeps of a response: the whole of it, as a message and as bytes, if it
// is unary; of a stream, the messages of tokens that the client has not read. The echo is kept
// once, and once more in each message that has it.
void BookResult(const std::string& echo, GenerationKind kind, GenerationRequest* request) {
  constexpr int64_t kTextAndId = 48, kLogprob = 160;
  const bool unary = kind != GenerationKind::kStream;
  request->result_token_bytes = kTextAndId + (request->top_logprobs + 1) * kLogprob;
  request->keeps_result = unary;
  request->result_bytes = std::ssize(echo) * (unary ? 1 + 2 * request->completions : 2);
}

}  // namespace

GenerationLimits LimitsFor(const GenerationLimits& limits, const ModelInfo& info) {
  if (info.max_positions == 0) return limits;
  // The last generated token needs no position.
  return {std::min(limits.prompt_tokens, info.max_positions),
          std::min(limits.new_tokens, info.max_positions)};
}

absl::StatusOr<ResolvedGeneration> ResolveGeneration(GenerationParameters parameters,
                                                     const GenerationContext& context) {
  const GenerationParameters::Output& output = parameters.output;
  GenerationParameters::Stopping& stopping = parameters.stopping;
  ResolvedGeneration result;
  GenerationRequest& request = result.request;
  FieldErrors errors;
  errors.Add(CheckLength("request_id", parameters.request_id, kMaxRequestIdCharacters));
  errors.Add(CheckLength("client", parameters.client, kMaxClientCharacters));
  errors.Add(parameters.priority, &request.priority);
  request.client = std::move(parameters.client);
  std::pair<int, int> completions(1, 1);
  errors.Add(ResolveCompletions(parameters, context.kind), &completions);
  std::tie(request.completions, result.n) = completions;
  request.sampling = ResolveSampling(std::move(parameters.sampling), context.defaults);
  errors.Add(ResolveTopLogprobs(output.logprobs), &request.top_logprobs);
  result.return_token_ids = output.token_ids;
  result.return_logprobs = request.top_logprobs >= 0;
  // The best completions are chosen by their log-probabilities.
  if (request.completions > result.n) request.top_logprobs = std::max(request.top_logprobs, 0);
  errors.Add(ResolveStructured(parameters.structured, context), &request.constraint);
  request.min_new_tokens = stopping.min_new_tokens;
  request.stop_texts = std::move(stopping.stop_texts);
  request.stop_token_ids = std::move(stopping.stop_token_ids);
  if (!stopping.ignore_eos) request.eos_token_ids = context.defaults.eos_token_ids;
  errors.Add(CheckParameters(request, context.info));

  std::vector<int32_t> prompt;
  const bool has_prompt = errors.Add(ResolvePrompt(parameters, context), &prompt);
  if (has_prompt && output.echo) result.echo = EchoOf(parameters, prompt, context.tokenizer);
  request.resume = std::move(parameters.resume);
  request.save_state = output.save_state || context.kind == GenerationKind::kSaveState;
  errors.Add(AfterState(request.resume.get(), std::move(prompt), context.info.max_positions),
             &request.prompt);
  errors.Add(ResolveNewTokens(stopping.max_new_tokens, context, &request));
  RETURN_IF_ERROR(errors.status());
  result.prompt_tokens = std::ssize(request.prompt);
  BookResult(result.echo, context.kind, &request);
  return result;
}

SamplingParameters DefaultSampling(const GenerationDefaults& defaults) {
  SamplingParameters sampling;
  sampling.temperature = defaults.temperature.value_or(sampling.temperature);
  sampling.top_k = defaults.top_k.value_or(sampling.top_k);
  sampling.top_p = defaults.top_p.value_or(sampling.top_p);
  sampling.min_p = defaults.min_p.value_or(sampling.min_p);
  sampling.repetition_penalty = defaults.repetition_penalty.value_or(sampling.repetition_penalty);
  sampling.no_repeat_ngram_size =
      defaults.no_repeat_ngram_size.value_or(sampling.no_repeat_ngram_size);
  return sampling;
}

int64_t DefaultMaxNewTokens(const GenerationDefaults& defaults, const GenerationLimits& limits) {
  return std::min(defaults.max_new_tokens.value_or(kDefaultMaxNewTokens), limits.new_tokens);
}

absl::Status ValidateTokenIds(std::string_view field, std::span<const int32_t> ids,
                              int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    return InvalidField(absl::StrCat(ToAbsl(field), "[", i, "]"), absl::StrCat(ids[i]),
                        absl::StrCat("a token id from 0 to ", vocab_size - 1));
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
