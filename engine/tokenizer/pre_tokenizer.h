// The pre-tokenizers of a tokenizer.json: how a text is cut into words before the model sees it.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_PRE_TOKENIZER_H_

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/json_view.h"

namespace whipsnake::engine {

// Owns the texts made on the way from which words are cut; their addresses stay.
using TextStore = std::deque<std::string>;

// One step. Immutable and thread-safe.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  // Appends the pieces of well-formed, non-empty `text`: parts of it, or of texts put into `store`.
  virtual absl::Status Split(std::string_view text, TextStore* store,
                             std::vector<std::string_view>* pieces) const = 0;
};

// The steps in order, each cutting the pieces of the one before. Immutable and thread-safe.
class PreTokenizer {
 public:
  // Reads the field "pre_tokenizer": null, ByteLevel, Split, Digits, Punctuation, Whitespace,
  // WhitespaceSplit or a Sequence of them.
  static absl::StatusOr<PreTokenizer> Parse(const JsonView& view);

  // Whether the last step turns bytes into the characters of the byte-level alphabet.
  bool ends_in_byte_level() const { return final_byte_level_; }
  // Leaves that last turn out, so that Split gives the bytes themselves.
  void KeepBytes();

  // Appends the words of well-formed `text`.
  absl::Status Split(std::string_view text, TextStore* store,
                     std::vector<std::string_view>* words) const;

 private:
  absl::Status Append(const JsonView& view);
  absl::Status AppendByteLevel(const JsonView& view);

  std::vector<std::unique_ptr<const PreTokenizerStep>> steps_;
  bool final_byte_level_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
