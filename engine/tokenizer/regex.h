// The regular expressions of a tokenizer.json, which are written for Oniguruma's Ruby syntax, run
// by ICU.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_REGEX_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_REGEX_H_

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/json_view.h"
#include "unicode/regex.h"

namespace whipsnake::engine {

// A range of bytes of a text.
struct Span {
  size_t begin;
  size_t end;
};

// Immutable and thread-safe. The Unicode version is ICU's: 15.0 on Debian 12, 16.0 on Debian 13,
// where Oniguruma in tokenizers 0.23 has 16.0.
class Regex {
 public:
  // Compiles the string at `pattern`. UNIMPLEMENTED if it uses a construct that means something
  // else to ICU, INVALID_ARGUMENT if it is no regular expression.
  static absl::StatusOr<Regex> Compile(const JsonView& pattern);

  // Appends the matches in well-formed `text`, in order; an empty one only where no match ends.
  // Fails when the search backtracks too much for ICU's limits.
  absl::Status FindAll(std::string_view text, std::vector<Span>* matches) const;

 private:
  explicit Regex(std::unique_ptr<const icu::RegexPattern> pattern) : pattern_(std::move(pattern)) {}

  std::unique_ptr<const icu::RegexPattern> pattern_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_REGEX_H_
