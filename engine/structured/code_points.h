// Sets of Unicode characters and their UTF-8 encodings.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_CODE_POINTS_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_CODE_POINTS_H_

#include <compare>
#include <vector>

#include "engine/structured/expression.h"

namespace whipsnake::engine {

inline constexpr char32_t kLastCodePoint = 0x10ffff;

constexpr bool IsSurrogate(char32_t code_point) {
  return code_point >= 0xd800 && code_point <= 0xdfff;
}

// Includes both ends.
struct CodePointRange {
  char32_t first;
  char32_t last;
  auto operator<=>(const CodePointRange&) const = default;
};

// Immutable. Never contains surrogates, because they are not characters.
class CodePointSet {
 public:
  CodePointSet() = default;
  // Accepts any ranges in any order, in O(n log n). Use this, not Union, to combine many members.
  explicit CodePointSet(std::vector<CodePointRange> ranges);

  static CodePointSet All() { return CodePointSet({{0, kLastCodePoint}}); }

  CodePointSet Complement() const;
  CodePointSet Union(const CodePointSet& other) const;
  CodePointSet Intersection(const CodePointSet& other) const;
  CodePointSet Difference(const CodePointSet& other) const {
    return Intersection(other.Complement());
  }

  bool empty() const { return ranges_.empty(); }
  bool Contains(char32_t code_point) const;
  auto operator<=>(const CodePointSet&) const = default;
  // Sorted, with gaps between them.
  const std::vector<CodePointRange>& ranges() const { return ranges_; }

 private:
  std::vector<CodePointRange> ranges_;
};

// Returns an expression for one character of the set in UTF-8. No two of its alternatives begin
// with the same byte.
Expression Utf8(const CodePointSet& set, ExpressionPool* pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_CODE_POINTS_H_
