// Compiles regular expressions to grammars.
//
// Characters are Unicode code points. Supported are literals, `.` (all but newline), classes with
// ranges and negation, \d \w \s and their negations (ASCII, as in JavaScript), the escapes \n \t \r
// \f \v \xHH \uHHHH \u{H...}, groups (capturing or not, named or not), alternation, and the
// quantifiers * + ? {m} {m,} {m,n}, whose lazy forms mean the same here. ^ and $ may only be at the
// ends of the top-level alternatives. Look-around, back references, word boundaries and \p are
// refused.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_

#include <functional>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/code_points.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// Returns the expression of one character of a set.
using CharacterEncoder = std::function<Expression(const CodePointSet& set)>;

// The texts, in UTF-8, that match as a whole. Returns INVALID_ARGUMENT with `field`, saying what is
// wrong and where in the expression.
absl::StatusOr<Expression> CompileRegex(std::string_view regex, std::string_view field,
                                        ExpressionPool& pool);

// The texts in which the expression matches somewhere, as with "pattern" in JSON Schema; ^ and $
// anchor it to the ends. Errors as from CompileRegex.
absl::StatusOr<Expression> CompilePattern(std::string_view regex, std::string_view field,
                                          const CharacterEncoder& encode, ExpressionPool& pool);

// Larger repetition counts are refused, in schemas too.
inline constexpr int64_t kMaxRepetitions = 10'000;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_
