// Sets of texts that patterns, lengths and excluded texts limit together.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/structured/expression.h"
#include "engine/structured/json_grammar.h"

namespace whipsnake::engine {

// A pattern as in JSON Schema (CompilePattern), which a text must match, or must not if `negated`.
struct TextPattern {
  std::string regex;
  std::string field;  // for messages
  bool negated = false;
};

// The texts that satisfy all of this. Lengths count code points.
struct TextLanguage {
  std::string field;  // for messages about the whole
  std::vector<TextPattern> patterns;
  int64_t min_count = 0;
  int64_t max_count = ExpressionPool::kUnbounded;
  std::vector<std::string> excluded{};

  bool has_length() const { return min_count > 0 || max_count != ExpressionPool::kUnbounded; }
};

// Whether a regular expression has look-ahead. May be true without.
bool MayLookAhead(std::string_view regex);

// The functions below return INVALID_ARGUMENT with the field of a pattern that is malformed or not
// supported, or with that of the language if its limits need too many states together, and
// RESOURCE_EXHAUSTED if they take more work than `pool` has, which they charge to it.

// Returns the texts as JSON strings, in quotation marks.
absl::StatusOr<Expression> CompileText(const TextLanguage& language, JsonGrammar& json,
                                       ExpressionPool& pool);

// Whether each of `texts`, which are UTF-8, is in the language.
absl::StatusOr<std::vector<bool>> Admits(const TextLanguage& language,
                                         const std::vector<std::string_view>& texts,
                                         ExpressionPool& pool);

// Whether no text is in the language.
absl::StatusOr<bool> IsEmpty(const TextLanguage& language, ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_
