// The added tokens of a tokenizer.json: strings that are matched in the text before it is split.
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
#include "engine/base/json_reader.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/normalizer.h"

namespace whipsnake::engine {

struct AddedToken {
  int32_t id;
  std::string content;
  // The string to match: the normalized content if `normalized`, else the content.
  std::string form;
  bool single_word;  // matches only if no word character touches it
  bool lstrip;       // absorbs the white space before it
  bool rstrip;       // absorbs the white space after it
  bool normalized;   // is matched in the normalized text, not in the raw one
  bool special;
};

// A set of strings that finds the longest one at a position. Thread-safe once all strings are
// added.
class StringMatcher {
 public:
  StringMatcher();
  // Returns false if `text` is empty or was added before. `value` must not be negative.
  bool Add(std::string_view text, int32_t value);

  struct Match {
    size_t begin;
    size_t end;
    int32_t value;  // -1 if there is no match
  };
  // Returns the leftmost match from `from` on, and the longest one at that position.
  Match Find(std::string_view text, size_t from) const;

 private:
  Match LongestAt(std::string_view text, size_t begin) const;
  int32_t Child(int32_t node, uint8_t byte) const;

  std::array<int32_t, 256> roots_;                   // a trie: nodes by first byte; -1 if none
  absl::flat_hash_map<uint64_t, int32_t> children_;  // nodes by parent << 8 | byte
  std::vector<int32_t> values_;                      // by node; -1 if no string ends there
};

// Immutable and thread-safe.
class AddedTokens {
 public:
  // Reads the field "added_tokens". Returns INVALID_ARGUMENT if it is malformed. An id must be the
  // one that `tokenizers` assigns: the id of the content in the vocabulary, or else the next free
  // one.
  static absl::StatusOr<AddedTokens> Parse(const JsonView& view, const Bpe& model,
                                           const Normalizer& normalizer);

  struct Piece {
    std::string_view text;
    int32_t id;  // of an added token; -1 for text between them
  };
  // Appends the pieces of well-formed `text`, matching the tokens for normalized text if
  // `normalized` and those for raw text otherwise. With `plain_text`, special tokens are not
  // matched.
  void Split(std::string_view text, bool normalized, bool plain_text,
             std::vector<Piece>* pieces) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  // Returns the id of the added token with this content, or -1.
  int32_t Find(std::string_view content) const;
  bool IsSpecial(std::string_view content) const;

 private:
  absl::Status Add(const JsonView& view, const Bpe& model, const Normalizer& normalizer);

  std::vector<AddedToken> tokens_;
  int32_t next_id_ = 0;
  absl::flat_hash_map<std::string, size_t> by_content_;
  StringMatcher raw_, normalized_;  // values index tokens_
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_ADDED_TOKENS_H_
