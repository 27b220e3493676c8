// Which tokens would repeat an n-gram of a sequence: n tokens in a row that it already has
// (no_repeat_ngram_size of transformers' NoRepeatNGramLogitsProcessor, after Paulus et al., 2017).
#ifndef WHIPSNAKE_ENGINE_GENERATE_REPEATED_NGRAMS_H_
#define WHIPSNAKE_ENGINE_GENERATE_REPEATED_NGRAMS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace whipsnake::engine {

// Holds at most kNgramBytes for each token of the sequence. Not thread-safe.
class RepeatedNgrams {
 public:
  static constexpr int64_t kNgramBytes = 192;

  // n is not negative; with 0, nothing repeats.
  explicit RepeatedNgrams(int64_t n);

  // Adds a token to the end of the sequence. Takes constant time on average.
  void Append(int32_t token);

  // Returns the tokens that would complete an n-gram that the sequence has, each at least once and
  // in no particular order. Takes time for each of them, and for comparing n tokens. Valid until
  // the next call.
  std::span<const int32_t> Find();

 private:
  // One n-gram of the sequence, in the list of those whose first n-1 tokens have the same hash.
  struct Ngram {
    int32_t begin;     // its place in tokens_
    int32_t previous;  // the next one in the list; -1 at the end
  };

  bool AreEqual(int64_t a, int64_t b, int64_t length) const;

  const int64_t n_;
  uint64_t outgoing_factor_ = 1;  // of the oldest token in the hash of n-1 tokens
  uint64_t hash_ = 0;             // of the last n-1 tokens, or of all if there are fewer
  std::vector<int32_t> tokens_;
  std::vector<Ngram> ngrams_;
  absl::flat_hash_map<uint64_t, int32_t> by_first_;  // heads of the lists, by the first n-1 tokens
  absl::flat_hash_map<uint64_t, int32_t> by_all_;    // places in tokens_, by all n tokens
  std::vector<int32_t> found_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_REPEATED_NGRAMS_H_
