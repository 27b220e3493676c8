// Converts text to token ids and back, as described by a Hugging Face tokenizer.json or by the
// files that were used before there was one (vocabulary_files.h). The ids are those of the
// `tokenizers` package. The fields "truncation" and "padding" are ignored: the caller decides how
// long a sequence may be.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_TOKENIZER_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

struct VocabularyFiles;

// How a text becomes tokens.
struct EncodeOptions {
  // Adds the tokens that the post-processor puts around a text, such as one for its beginning.
  bool add_special_tokens = false;
  // Takes special tokens that are spelled in the text as plain text: for text from a source that is
  // not trusted.
  bool plain_text = false;
};

// Immutable and thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Reads tokenizer.json. Returns INVALID_ARGUMENT, naming the file and the JSON path, if it is
  // malformed, and UNIMPLEMENTED, naming the component (normalizer, pre-tokenizer, model, ...), if
  // one is not supported.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path);
  // Like Load, from the text of the file. For tests and fuzzing.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(std::string_view json);
  // Reads the tokenizer of a model directory: tokenizer.json or, if there is none, vocab.json and
  // merges.txt with the files beside them. Returns NOT_FOUND if there is neither, and otherwise the
  // errors of Load and AssembleTokenizer.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> LoadDirectory(const std::string& directory);
  // Like LoadDirectory, from the texts of vocab.json and the files beside it.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Assemble(const VocabularyFiles& files);

  // One more than the largest id.
  virtual int32_t size() const = 0;

  // Returns the ids of `text`. Special tokens in the text are recognized, and nothing is added
  // before or after it, unless the options say otherwise. Returns INVALID_ARGUMENT if the text is
  // not UTF-8 (with the byte offset) or has more than 2^28 bytes, and RESOURCE_EXHAUSTED if a
  // normalizer or a regular expression exceeds its limits.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      const EncodeOptions& options = {}) const = 0;
  // The ids that `add_special_tokens` puts before and after a text.
  virtual std::span<const int32_t> prefix() const = 0;
  virtual std::span<const int32_t> suffix() const = 0;

  // Returns the bytes that one token stands for in running text, possibly a part of a UTF-8
  // character; "" for an unknown id, and for a special token if `skip_special`.
  virtual std::string TokenBytes(int32_t id, bool skip_special = true) const = 0;

  // Returns the text of a whole sequence. Malformed UTF-8 becomes U+FFFD.
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const = 0;

  // Says in which texts the ids may not be those of `tokenizers` on this machine; "" if in none.
  virtual std::string Caveat() const { return ""; }

  virtual bool IsSpecial(int32_t id) const = 0;
  // Returns the id of the token with exactly this content, or -1.
  virtual int32_t FindToken(std::string_view content) const = 0;
};

// Decodes a stream of tokens, holding back the bytes of an incomplete character. Not thread-safe.
// The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer* tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // Returns the characters that this token completes, "" if none.
  std::string Push(int32_t id);
  // Returns the bytes that are still held back, as U+FFFD. Call it once at the end.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_TOKENIZER_H_
