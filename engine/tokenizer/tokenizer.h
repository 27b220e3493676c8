// Text to token ids and back, as described by a Hugging Face tokenizer.json: the ids that the
// `tokenizers` package gives with add_special_tokens=False. Its fields "truncation" and "padding"
// are left unread: how long a sequence may be is the caller's affair.
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

// Immutable and thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Reads tokenizer.json. INVALID_ARGUMENT names the file and the JSON path of what is malformed;
  // UNIMPLEMENTED names a component (normalizer, pre-tokenizer, model, ...) that is not known here.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path);
  // The same from the file's text, for tests and fuzzing.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(std::string_view json);

  // One more than the largest id.
  virtual int32_t size() const = 0;

  // The ids of `text`, special tokens in the text recognized, nothing added before or after it.
  // INVALID_ARGUMENT with the byte offset if it is not UTF-8.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const = 0;

  // The bytes that one token stands for in the running text: possibly a part of a UTF-8 character;
  // "" for an id that is unknown, and for a special token where those are skipped.
  virtual std::string TokenBytes(int32_t id, bool skip_special = true) const = 0;

  // The text of a whole sequence; malformed UTF-8 becomes U+FFFD.
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const = 0;

  virtual bool IsSpecial(int32_t id) const = 0;
  // The id of a token by its exact content, or -1.
  virtual int32_t FindToken(std::string_view content) const = 0;
};

// Text out of a stream of tokens: holds back the bytes of a character that is not yet whole.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer* tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The whole characters that this token completes, "" if none.
  std::string Push(int32_t id);
  // What is still held back, as U+FFFD where it is not a character; call it once at the end.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_TOKENIZER_H_
