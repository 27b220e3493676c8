// Compiles regular expressions to grammars.
//
// Characters are Unicode code points, and classes are those of ECMA-262. Supported are literals,
// `.` (all but \n, \r, U+2028 and U+2029), classes with ranges and negation, \d and \w (ASCII), \s
// (white space and line ends of Unicode, and U+FEFF), their negations, the escapes \n \t \r \f \v
// \xHH \uHHHH \u{H...}, groups (capturing or not, named or not), alternation, and the quantifiers *
// + ? {m} {m,} {m,n}, whose lazy forms mean the same here. ^ and $ may only be at the ends of the
// top-level alternatives, and $ also in a group with which the expression ends. Look-ahead is
// supported in patterns, where nothing that may repeat follows it but the end of the pattern. Other
// look-around, back references, word boundaries and \p are refused.
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

// Returns the texts of `rest` that are, or if `negated` are not, texts of `ahead`.
using LookAhead = std::function<Expression(Expression ahead, bool negated, Expression rest)>;

// The texts in which the expression matches somewhere, as with "pattern" in JSON Schema; ^ and $
// anchor it to the ends. Errors as from CompileRegex. If `look_ahead` is empty,
// look-ahead is refused.
absl::StatusOr<Expression> CompilePattern(std::string_view regex, std::string_view field,
                                          const CharacterEncoder& encode,
                                          const LookAhead& look_ahead, ExpressionPool& pool);

// Larger repetition counts are refused, in schemas too.
inline constexpr int64_t kMaxRepetitions = 10'000;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_
