// A generated tokenizer for models with random weights.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_RANDOM_TOKENIZER_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_RANDOM_TOKENIZER_H_

#include <cstdint>
#include <string>

namespace whipsnake::engine {

// The smallest vocabulary: <|endoftext|> and one token per byte.
inline constexpr int64_t kSmallestByteVocabulary = 257;

// Returns the text of a tokenizer.json: a byte-level BPE of exactly `tokens` tokens, from
// kSmallestByteVocabulary to 2^24. Id 0 is <|endoftext|>, ids 1 to 256 are the bytes in order, and
// the others come from merges: first of two bytes, then of such a pair and a byte, with letters and
// spaces before other bytes.
std::string MakeByteLevelTokenizer(int64_t tokens);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_RANDOM_TOKENIZER_H_
