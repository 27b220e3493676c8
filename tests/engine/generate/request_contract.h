// What GenerationRequest promises to Generator::Submit, which does not check it.
#ifndef WHIPSNAKE_TESTS_ENGINE_GENERATE_REQUEST_CONTRACT_H_
#define WHIPSNAKE_TESTS_ENGINE_GENERATE_REQUEST_CONTRACT_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/generate/generator.h"

namespace whipsnake::engine {

// Whether the prompt begins with the state's tokens and has one that the state has not seen.
inline bool ContinuesState(const std::vector<int32_t>& prompt, const SavedState& resume) {
  const std::vector<int32_t>& tokens = resume.tokens;
  return std::ssize(prompt) > resume.state->position() && prompt.size() >= tokens.size() &&
         std::equal(tokens.begin(), tokens.end(), prompt.begin());
}

// Returns the first promise that the request breaks, or "" if it keeps all of them. Written
// without the code that makes requests, so that tests can compare the two.
inline std::string BrokenPromise(const GenerationRequest& request, const ModelInfo& model) {
  const auto known = [&](const std::vector<int32_t>& ids) {
    return std::ranges::all_of(ids, [&](int32_t id) { return id >= 0 && id < model.vocab_size; });
  };
  const bool has_stops = !request.stop_texts.empty() || !request.stop_token_ids.empty();
  const Constraint* constraint = request.constraint.get();
  if (model.labels != 0) return "the model is not a language model";
  if (request.prompt.empty()) return "the prompt is empty";
  if (model.max_positions > 0 && std::ssize(request.prompt) > model.max_positions) {
    return "the prompt is longer than the model";
  }
  if (!known(request.prompt)) return "the prompt has an unknown token";
  if (request.resume != nullptr && !ContinuesState(request.prompt, *request.resume)) {
    return "the prompt does not continue the state";
  }
  if (!Validate(request.sampling, model.vocab_size).ok()) return "the sampling is not valid";
  if (request.completions < 1) return "there are no completions";
  if (request.max_new_tokens < (request.save_state ? 0 : 1)) return "max_new_tokens is too low";
  if (request.min_new_tokens < 0 || request.min_new_tokens > request.max_new_tokens) {
    return "min_new_tokens is not from 0 to max_new_tokens";
  }
  if (std::ranges::count(request.stop_texts, "") > 0) return "a stop text is empty";
  if (!known(request.stop_token_ids)) return "a stop token is unknown";
  if (constraint == nullptr) return "";
  if (has_stops || request.min_new_tokens > 0) return "a constraint is combined with stops";
  if (request.max_new_tokens < constraint->shortest_tokens()) return "the constraint cannot be met";
  return "";
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_GENERATE_REQUEST_CONTRACT_H_
