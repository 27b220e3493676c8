// Compiles regular expressions to grammars.
//
// Characters are Unicode code points, and classes are those of ECMA-262. Supported are literals,
// `.` (all but \n, \r, U+2028 and U+2029), classes with ranges and negation, \d and \w (ASCII), \s
// (white space and line ends of Unicode, and U+FEFF), their negations, the escapes \n \t \r \f \v
// \xHH \uHHHH \u{H...}, groups (capturing or not, named or not), alternation, and the quantifiers *
// + ? {m} {m,} {m,n}, whose lazy forms mean the same here. ^ and $ may only be at the ends of the
// top-level alternatives. Look-ahead may only be at the start of a pattern, after ^. Other
// look-around, back references, word boundaries and \p are refused.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

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

enum class PatternStart { kAnywhere, kAtStart };

// The texts in which the expression matches somewhere, as with "pattern" in JSON Schema, or at the
// start; ^ and $ anchor it to the ends. Errors as from CompileRegex.
absl::StatusOr<Expression> CompilePattern(std::string_view regex, std::string_view field,
                                          PatternStart start, const CharacterEncoder& encode,
                                          ExpressionPool& pool);

// A part of a pattern: a text matches the pattern if it matches all parts, or does not if
// `negated`.
struct PatternPart {
  std::string regex;
  PatternStart start = PatternStart::kAnywhere;
  bool negated = false;
};

// Returns "^(?=a)(?!b)c" as the parts a, not b, and ^c. A pattern without look-ahead at its start
// is one part.
std::vector<PatternPart> SplitLookAhead(std::string_view regex);

// Larger repetition counts are refused, in schemas too.
inline constexpr int64_t kMaxRepetitions = 10'000;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_
