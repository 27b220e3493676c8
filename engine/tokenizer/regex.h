// Runs the regular expressions of a tokenizer.json, which are written in Oniguruma's Ruby syntax,
// with ICU.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_REGEX_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_REGEX_H_

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/json_reader.h"
#include "unicode/regex.h"

namespace whipsnake::engine {

// A range of bytes of a text.
struct Span {
  size_t begin;
  size_t end;
};

// Immutable and thread-safe. The Unicode version is that of ICU: 15.0 on Debian 12, 16.0 on Debian
// 13. Oniguruma in tokenizers 0.23 has 16.0.
class Regex {
 public:
  // Compiles the string in `pattern`. Returns UNIMPLEMENTED if it uses a construct that ICU
  // interprets differently, and INVALID_ARGUMENT if it is not a regular expression.
  static absl::StatusOr<Regex> Compile(const JsonView& pattern);

  // Appends the matches in well-formed `text`, in order, except empty ones right after another
  // match. Takes constant memory for a run of characters of one class. Returns RESOURCE_EXHAUSTED
  // if the search exceeds ICU's limits.
  absl::Status FindAll(std::string_view text, std::vector<Span>* matches) const;

 private:
  explicit Regex(std::unique_ptr<const icu::RegexPattern> pattern) : pattern_(std::move(pattern)) {}

  std::unique_ptr<const icu::RegexPattern> pattern_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_REGEX_H_
