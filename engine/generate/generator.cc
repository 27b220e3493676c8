#include "engine/generate/generator.h"

#include <algorithm>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr size_t kMaxStopTexts = 16;
constexpr size_t kMaxStopTextBytes = 256;
constexpr size_t kMaxStopTokens = 64;
constexpr int kMaxTopLogprobs = 20;

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
absl::Status CheckConstrained(const GenerationRequest& request) {
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

absl::Status CheckResume(const GenerationRequest& request) {
  const std::vector<int32_t>& tokens = request.resume->tokens;
  const int64_t size = std::ssize(request.prompt), seen = request.resume->state->position();
  if (size > seen && size >= std::ssize(tokens) &&
      std::equal(tokens.begin(), tokens.end(), request.prompt.begin())) {
    return absl::OkStatus();
  }
  return InvalidField("prompt", absl::StrCat(size, " tokens"),
                      absl::StrCat("the ", tokens.size(), " tokens of the state that it resumes ",
                                   "and at least one that the state has not seen"));
}

}  // namespace

std::string_view Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
  }
  return "unknown";
}

absl::Status ValidateTokenIds(std::string_view field, const std::vector<int32_t>& ids,
                              int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    return InvalidField(absl::StrCat(ToAbsl(field), "[", i, "]"), absl::StrCat(ids[i]),
                        absl::StrCat("a token id from 0 to ", vocab_size - 1));
  }
  return absl::OkStatus();
}

absl::Status ValidateParameters(const GenerationRequest& request, const ModelInfo& model) {
  RETURN_IF_ERROR(CheckLanguageModel(model));
  FieldErrors errors;
  errors.Add(Validate(request.sampling, model.vocab_size));
  if (request.completions < 1 || request.completions > kMaxCompletions) {
    errors.Add(InvalidField("completions", absl::StrCat(request.completions),
                            absl::StrCat("1 to ", kMaxCompletions)));
  }
  errors.Add(CheckStopTexts(request.stop_texts));
  if (request.constraint != nullptr) errors.Add(CheckConstrained(request));
  if (request.stop_token_ids.size() > kMaxStopTokens) {
    errors.Add(InvalidField("stopping.stop_token_ids",
                            absl::StrCat(request.stop_token_ids.size(), " ids"),
                            absl::StrCat("at most ", kMaxStopTokens)));
  }
  errors.Add(ValidateTokenIds("stopping.stop_token_ids", request.stop_token_ids, model.vocab_size));
  if (request.top_logprobs > kMaxTopLogprobs) {
    errors.Add(InvalidField("output.logprobs", absl::StrCat(request.top_logprobs),
                            absl::StrCat("0 to ", kMaxTopLogprobs)));
  }
  return errors.status();
}

absl::Status ValidateNewTokens(const GenerationRequest& request) {
  if (request.constraint != nullptr &&
      request.max_new_tokens < request.constraint->shortest_tokens()) {
    return InvalidField("stopping.max_new_tokens", absl::StrCat(request.max_new_tokens),
                        absl::StrCat("at least ", request.constraint->shortest_tokens(),
                                     ", the tokens of the shortest structured output"));
  }
  if (request.min_new_tokens >= 0 && request.min_new_tokens <= request.max_new_tokens) {
    return absl::OkStatus();
  }
  return InvalidField("stopping.min_new_tokens", absl::StrCat(request.min_new_tokens),
                      absl::StrCat("0 to max_new_tokens, ", request.max_new_tokens));
}

absl::Status Validate(const GenerationRequest& request, const ModelInfo& model) {
  const int64_t prompt_tokens = request.prompt.size();
  if (prompt_tokens == 0) return InvalidField("prompt", "no tokens", "at least one token");
  if (model.max_positions > 0 && prompt_tokens > model.max_positions) {
    return InvalidField("prompt", absl::StrCat(prompt_tokens, " tokens"),
                        absl::StrCat("at most the model's ", model.max_positions));
  }
  RETURN_IF_ERROR(ValidateTokenIds("prompt", request.prompt, model.vocab_size));
  if (request.resume != nullptr) RETURN_IF_ERROR(CheckResume(request));
  const int64_t least = request.save_state ? 0 : 1;
  if (request.max_new_tokens < least) {
    return InvalidField("stopping.max_new_tokens", absl::StrCat(request.max_new_tokens),
                        absl::StrCat("at least ", least));
  }
  RETURN_IF_ERROR(ValidateNewTokens(request));
  return ValidateParameters(request, model);
}

}  // namespace whipsnake::engine
