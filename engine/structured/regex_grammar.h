// Regular expressions as grammars.
//
// Characters are Unicode code points. There are literals, `.` (all but newline), classes with
// ranges and negation, \d \w \s and their negations (ASCII, as in JavaScript), the escapes \n \t
// \r \f \v \xHH \uHHHH \u{H...}, groups (capturing or not, named or not), alternation, and the
// quantifiers * + ? {m} {m,} {m,n}, whose lazy forms mean the same here. ^ and $ may stand at the
// ends of the alternatives of the whole. Refused are look-around, back references, word borders
// and \p.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_

#include <functional>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/code_points.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// How one character of a set is written.
using CharacterEncoder = std::function<Expression(const CodePointSet& set)>;

// The texts, in UTF-8, that match as a whole. INVALID_ARGUMENT with `field` says where in the
// expression what is wrong.
absl::StatusOr<Expression> CompileRegex(std::string_view regex, std::string_view field,
                                        ExpressionPool& pool);

// The texts in which the expression matches somewhere, as "pattern" of JSON Schema has it: ^ and $
// tie it to the ends.
absl::StatusOr<Expression> CompilePattern(std::string_view regex, std::string_view field,
                                          const CharacterEncoder& encode, ExpressionPool& pool);

// More repetitions are refused, in schemas too.
inline constexpr int64_t kMaxRepetitions = 10'000;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_REGEX_GRAMMAR_H_
