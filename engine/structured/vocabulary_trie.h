// A trie of a vocabulary's tokens by their bytes.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_VOCABULARY_TRIE_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_VOCABULARY_TRIE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/structured/byte_set.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

// Leaves out special tokens and tokens without bytes, because no text can be made of them, and
// tokens of more than 1024 bytes. Immutable and thread-safe.
class VocabularyTrie {
 public:
  // A node, in depth-first order: its children follow it, and the first node that is not below it
  // is at `end`.
  struct Node {
    uint32_t end;
    uint32_t tokens_begin, tokens_end;  // range in tokens() of the tokens that end here
    uint16_t depth;                     // 1 for the first byte
    uint8_t byte;
  };

  // Contains only ids below `vocab_size`.
  VocabularyTrie(const Tokenizer& tokenizer, int64_t vocab_size);

  int64_t vocab_size() const { return vocab_size_; }
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  int64_t longest_token() const { return longest_; }  // bytes
  // Bytes that are tokens by themselves, so any text of them can be spelled.
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
