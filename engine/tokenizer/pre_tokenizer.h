// The pre-tokenizers of a tokenizer.json, which split a text into words for the model.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_PRE_TOKENIZER_H_

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/json_reader.h"

namespace whipsnake::engine {

// Owns the intermediate texts that words point into. Their addresses do not change.
using TextStore = std::deque<std::string>;

// One step. Immutable and thread-safe.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  // Appends the pieces of well-formed, non-empty `text`. They are parts of it or of texts added to
  // `store`.
  virtual absl::Status Split(std::string_view text, TextStore* store,
                             std::vector<std::string_view>* pieces) const = 0;
};

// Applies steps in order, each to the pieces of the previous one. Const methods are thread-safe.
class PreTokenizer {
 public:
  // Reads the field "pre_tokenizer": null, ByteLevel, Split, Digits, Punctuation, Whitespace,
  // WhitespaceSplit or a Sequence of them. Returns UNIMPLEMENTED for other types.
  static absl::StatusOr<PreTokenizer> Parse(const JsonView& view);

  // Whether words depend on the classes of characters in the version of Unicode of ICU.
  bool depends_on_unicode() const { return depends_on_unicode_; }
  // Whether the last step replaces bytes by the characters of the byte-level alphabet.
  bool ends_in_byte_level() const { return final_byte_level_; }
  // Removes that last step if there is one, so that Split returns the bytes themselves.
  void KeepBytes();

  // Appends the words of well-formed `text`, which point into it or into `store`.
  absl::Status Split(std::string_view text, TextStore* store,
                     std::vector<std::string_view>* words) const;

 private:
  absl::Status Append(const JsonView& view);
  absl::Status AppendByteLevel(const JsonView& view);

  std::vector<std::unique_ptr<const PreTokenizerStep>> steps_;
  bool final_byte_level_ = false;
  bool depends_on_unicode_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
