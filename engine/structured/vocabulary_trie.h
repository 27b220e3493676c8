// The tokens of a vocabulary by their bytes.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_VOCABULARY_TRIE_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_VOCABULARY_TRIE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/structured/byte_set.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

// Special tokens and those that stand for no bytes are not in it: no text can be made of them.
// Immutable and thread-safe.
class VocabularyTrie {
 public:
  // A node in depth-first order: its children follow it, and what is not below it begins at `end`.
  struct Node {
    uint32_t end;
    uint32_t tokens_begin, tokens_end;  // in tokens(): those that end here
    uint16_t depth;                     // 1 for the first byte
    uint8_t byte;
  };

  // Ids below vocab_size alone.
  VocabularyTrie(const Tokenizer& tokenizer, int64_t vocab_size);

  int64_t vocab_size() const { return vocab_size_; }
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  int64_t longest_token() const { return longest_; }  // bytes
  // Bytes that are a token by themselves: any text of them can be spelled.
  const ByteSet& single_bytes() const { return single_bytes_; }
  // "" for a token that is not in the trie.
  const std::string& bytes(int32_t token) const { return bytes_[token]; }

 private:
  const int64_t vocab_size_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  std::vector<std::string> bytes_;
  int64_t longest_ = 0;
  ByteSet single_bytes_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_VOCABULARY_TRIE_H_
