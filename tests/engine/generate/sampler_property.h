// Properties of a sampler that hold for any logits and any parameters that Validate() accepts. A
// unit test tries the extremes, a fuzzer the rest.
#ifndef WHIPSNAKE_TESTS_ENGINE_GENERATE_SAMPLER_PROPERTY_H_
#define WHIPSNAKE_TESTS_ENGINE_GENERATE_SAMPLER_PROPERTY_H_

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "engine/generate/sampling.h"

namespace whipsnake::engine {

// Draws `steps` tokens from the same logits. Returns what is wrong with one of them, or "".
inline std::string FaultOfSampler(const SamplingParameters& parameters,
                                  std::span<const float> logits, std::span<const int32_t> prompt,
                                  std::span<const uint64_t> allowed, int steps) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const auto is_allowed = [&](int32_t id) {
    return allowed.empty() || (allowed[id / 64] >> (id % 64) & 1) != 0;
  };
  Sampler sampler(parameters, std::ssize(logits), prompt);
  for (int step = 0; step < steps; ++step) {
    const auto token =
        sampler.Sample(logits, /*top_logprobs=*/3, {.allowed = allowed, .banned = {}});
    if (!token.ok()) return absl::IsInternal(token.status()) ? "" : token.status().ToString();
    const int32_t id = token->id;
    if (id < 0 || id >= std::ssize(logits)) return "the token is " + std::to_string(id);
    if (!is_allowed(id)) return "a token that is not allowed";
    if (!std::isfinite(logits[id])) return "a token whose logit is not finite";
    if (!std::isfinite(token->logprob)) return "its logprob is not finite";
    for (const TokenLogprob& top : token->top) {
      if (!std::isfinite(top.logprob)) return "a logprob that is not finite";
    }
    for (const float score : sampler.scores()) {
      if (!std::isfinite(score) && score != kNever) return "a score of " + std::to_string(score);
    }
  }
  return "";
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_GENERATE_SAMPLER_PROPERTY_H_
