// Chooses the next token from logits.
//
// Order: restriction to the allowed tokens, repetition penalty (prompt and output), presence and
// frequency penalties (output only), bias, exclusion of repeated n-grams (prompt and output),
// temperature, top-k, top-p, min-p. Logprobs are computed
// from the unmodified logits. The random draw depends only on (seed, completion index, position),
// so a sequence's tokens do not depend on other requests.
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
#include "engine/generate/repeated_ngrams.h"

namespace whipsnake::engine {

struct SamplingParameters {
  float temperature = 1.0f;  // 0 is greedy: the best token, the lowest id among equals
  int64_t top_k = 0;         // 0: all
  float top_p = 1.0f;        // the smallest set with at least this probability; 1: all
  float min_p = 0.0f;        // at least this fraction of the best token's probability
  // Divides positive logits of seen tokens and multiplies negative ones.
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;   // subtracted once from each generated token
  float frequency_penalty = 0.0f;  // subtracted once for each time the token was generated
  std::map<int32_t, float> logit_bias = {};
  // Excludes tokens that would repeat this many tokens of the prompt and the output, unless no
  // other token may be chosen; 0: none.
  int64_t no_repeat_ngram_size = 0;
  uint64_t seed = 0;
  int32_t completion_index = 0;
};

// A penalty of 0.01 already multiplies a positive logit by 100, which decides every choice. A
// smaller penalty would only make the number larger. A penalty of 100 does the same to a negative
// logit.
inline constexpr float kMinRepetitionPenalty = 0.01f;
inline constexpr float kMaxRepetitionPenalty = 100.0f;
inline constexpr int64_t kMaxNgramSize = 1024;
inline constexpr size_t kMaxLogitBiases = 1024;  // each one takes time in every step

// Returns INVALID_ARGUMENT, naming the field ("sampling.top_p"), for a value that is out of range
// or not finite.
absl::Status Validate(const SamplingParameters& parameters, int64_t vocab_size);

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;                   // from the unmodified logits
  std::vector<TokenLogprob> top = {};  // the best tokens, best first; as many as requested
};

// The tokens to choose from.
struct TokenFilter {
  std::span<const uint64_t> allowed;  // bit i % 64 of word i / 64: token i; empty: all tokens
  std::span<const int32_t> banned;    // exceptions from `allowed`
};

// The sampler of one sequence. Counts the tokens that it has seen. Not thread-safe.
class Sampler {
 public:
  // Token ids of `vocab_size` and above are padding: they are never chosen and have no probability.
  Sampler(const SamplingParameters& parameters, int64_t vocab_size,
          std::span<const int32_t> prompt);

  // Chooses a token from `logits`, of at least vocab_size elements, counts it and moves to the next
  // position. With top_logprobs < 0 no logprobs are computed and they are 0; otherwise the result
  // has that many best tokens in addition to the chosen one. Returns INTERNAL if no allowed token
  // has a finite logit. With parameters that Validate accepts, any logits give either an allowed
  // token or that error.
  absl::StatusOr<SampledToken> Sample(std::span<const float> logits, int top_logprobs,
                                      const TokenFilter& filter = {});

  // The modified logits from which the last token was chosen: [vocab_size], each finite or
  // -infinity.
  std::span<const float> scores() const { return scores_; }

 private:
  // A token and its weight, exp((score - best score) / temperature): 1 for the best token.
  struct Candidate {
    float weight;
    int32_t id;
  };

  void ApplyFilter(const TokenFilter& filter);
  template <typename Change>
  void ModifyScore(int32_t id, Change change);
  void ModifyScores();
  void ExcludeRepeats();
  // These return nullopt if no token may be chosen.
  std::optional<int32_t> BestToken() const;
  std::optional<int32_t> DrawToken();
  // Fills weights_ from scores_, the largest of which is `best`. Returns the sum of the weights.
  double ComputeWeights(float best, float temperature);
  int32_t DrawFromAll(double point) const;
  int32_t DrawFromCandidates(double point) const;  // candidates_ must not be empty
  // Fills candidates_ with the best tokens: at most `count`, and no more than are needed for their
  // weights to reach `sum`.
  void GatherBest(int64_t count, double sum);
  // Fills candidates_ with all tokens of at least this weight.
  void GatherAtLeast(float weight);
  // Keeps only the best candidates whose weights together reach this fraction of all candidates'.
  void KeepTopP(double fraction);

  const SamplingParameters parameters_;
  const int64_t vocab_size_;
  uint64_t position_ = 0;
  std::unordered_set<int32_t> seen_;                // tokens of the prompt and the output
  std::unordered_map<int32_t, int32_t> generated_;  // how often each token is in the output
  RepeatedNgrams ngrams_;                           // of the prompt and the output
  std::vector<float> scores_;                       // modified logits, by id
  std::vector<float> weights_;                      // by id
  std::vector<float> block_sums_;                   // of weights_, for each kSoftmaxBlock of them
  std::vector<Candidate> candidates_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_SAMPLING_H_
