// Choosing the next token from logits.
//
// Order: what may be chosen at all, repetition penalty (prompt and output), presence and frequency
// (output only), bias, temperature, top-k, top-p, min-p. Logprobs are of the unmodified logits. The
// random draw is keyed by (seed, completion index, position), so a sequence's tokens depend on
// nothing else.
#ifndef WHIPSNAKE_ENGINE_GENERATE_SAMPLING_H_
#define WHIPSNAKE_ENGINE_GENERATE_SAMPLING_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

struct SamplingParameters {
  float temperature = 1.0f;  // 0 is greedy: the largest, the lowest id among equals
  int64_t top_k = 0;         // 0: all
  float top_p = 1.0f;        // the smallest set with at least this probability; 1: all
  float min_p = 0.0f;        // at least this fraction of the best token's probability
  float repetition_penalty =
      1.0f;                        // divides positive and multiplies negative logits of seen tokens
  float presence_penalty = 0.0f;   // subtracted once from every generated token
  float frequency_penalty = 0.0f;  // subtracted as often as the token was generated
  std::map<int32_t, float> logit_bias = {};
  uint64_t seed = 0;
  int32_t completion_index = 0;
};

// A penalty of 0.01 already multiplies a positive logit by 100, which decides every choice: a
// smaller one would change nothing but the number's size. 100 is the same for a negative logit.
inline constexpr float kLeastRepetitionPenalty = 0.01f;
inline constexpr float kMostRepetitionPenalty = 100.0f;
inline constexpr size_t kMaxLogitBiases = 1024;  // each costs something in every step

// INVALID_ARGUMENT with the field ("sampling.top_p") for what is out of range or not finite.
absl::Status Validate(const SamplingParameters& parameters, int64_t vocab_size);

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;                   // of the unmodified logits
  std::vector<TokenLogprob> top = {};  // the best ones, best first; as many as were asked for
};

// The tokens that there are to choose from.
struct Choice {
  std::span<const uint64_t> allowed;  // bit i of word i/64: token i; empty: every token
  std::span<const int32_t> banned;    // of those
};

// The sampler of one sequence: counts what it has seen. Not thread-safe.
class Sampler {
 public:
  // Tokens with ids of `vocab_size` and above (padding) are never chosen and take no probability.
  Sampler(const SamplingParameters& parameters, int64_t vocab_size,
          std::span<const int32_t> prompt);

  // Picks from logits[>= vocab_size], counts the choice and moves to the next position.
  // top_logprobs < 0 computes no logprobs (they are then 0); otherwise that many best ones besides
  // the chosen one. INTERNAL when no logit of what may be chosen is a finite number. Any logits
  // with any parameters that Validate admits give a token that may be chosen, or that error.
  absl::StatusOr<SampledToken> Next(std::span<const float> logits, int top_logprobs,
                                    const Choice& choice = {});

  // What the last token was chosen by: logits as modified, [vocab_size], each finite or -infinity.
  std::span<const float> scores() const { return scores_; }

 private:
  // A token and its share: e to the power of its score, the best one's being 1.
  struct Candidate {
    float weight;
    int32_t id;
  };

  void Restrict(const Choice& choice);
  template <typename Change>
  void ModifyScore(int32_t id, Change change);
  void ModifyScores();
  std::optional<int32_t> Greedy() const;  // nothing: there is none that may be chosen
  std::optional<int32_t> Draw();
  // Fills weights_ from scores_, the best of which is `best`; returns their sum.
  double Weigh(float best, float temperature);
  int32_t DrawFromAll(double point) const;
  int32_t DrawFromCandidates(double point) const;  // there is a candidate
  // The candidates: of all tokens the best, as many as `count`, or as many as together reach `sum`.
  void GatherBest(int64_t count, double sum);
  void GatherAtLeast(float weight);
  // The best of the candidates that together reach this part of them all.
  void KeepTopP(double part);

  const SamplingParameters parameters_;
  const int64_t vocab_size_;
  uint64_t position_ = 0;
  std::unordered_set<int32_t> seen_;                // of prompt and output
  std::unordered_map<int32_t, int32_t> generated_;  // how often
  std::vector<float> scores_;                       // logits as modified, by id
  std::vector<float> weights_;                      // of the scores, by id
  std::vector<float> block_sums_;                   // of the weights
  std::vector<Candidate> candidates_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_SAMPLING_H_
