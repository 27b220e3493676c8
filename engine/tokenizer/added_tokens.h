// The added tokens of a tokenizer.json: strings that are found in the text before anything splits
// it.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_ADDED_TOKENS_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/json_view.h"
#include "engine/tokenizer/normalizer.h"

namespace whipsnake::engine {

struct AddedToken {
  int32_t id;
  std::string content;
  // What stands for it in a normalized text: its own normal form if `normalized`, else the content.
  std::string form;
  bool single_word;  // only where no word character touches it
  bool lstrip;       // takes in the white space before it
  bool rstrip;       // takes in the white space after it
  bool normalized;   // is looked for in the normalized text, not in the raw one
  bool special;
};

// A set of strings, and the longest of them at a position. Immutable and thread-safe.
class StringMatcher {
 public:
  StringMatcher();
  // False if `text` is empty or was added before. `value` is not negative.
  bool Add(std::string_view text, int32_t value);

  struct Match {
    size_t begin;
    size_t end;
    int32_t value;  // -1: no match
  };
  // The leftmost match from `from` on, the longest of those.
  Match Find(std::string_view text, size_t from) const;

 private:
  Match LongestAt(std::string_view text, size_t begin) const;
  int32_t Child(int32_t node, uint8_t byte) const;

  std::array<int32_t, 256> roots_;                   // a trie: nodes by first byte, -1: none
  absl::flat_hash_map<uint64_t, int32_t> children_;  // nodes by parent << 8 | byte
  std::vector<int32_t> values_;                      // by node; -1: no string ends here
};

// Immutable and thread-safe.
class AddedTokens {
 public:
  // Reads the field "added_tokens". An id must be the one that `tokenizers` would give it: its
  // content's in the vocabulary, else the next free one.
  static absl::StatusOr<AddedTokens> Parse(const JsonView& view, const Bpe& model,
                                           const Normalizer& normalizer);

  struct Piece {
    std::string_view text;
    int32_t id;  // of an added token; -1: a text between them
  };
  // Appends the pieces of well-formed `text`, with the tokens that are looked for in a raw text, or
  // those in a normalized one.
  void Split(std::string_view text, bool normalized, std::vector<Piece>* pieces) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  // The id of an added token by its content, or -1.
  int32_t Find(std::string_view content) const;

 private:
  absl::Status Add(const JsonView& view, const Bpe& model, const Normalizer& normalizer);

  std::vector<AddedToken> tokens_;
  int32_t next_id_ = 0;
  absl::flat_hash_map<std::string, size_t> by_content_;
  StringMatcher raw_, normalized_;  // values index tokens_
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_ADDED_TOKENS_H_
