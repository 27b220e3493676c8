#include "engine/structured/code_points.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace whipsnake::engine {
namespace {

constexpr int kDigitBits = 6;  // bits that a continuation byte holds
constexpr char32_t kDigits = 1 << kDigitBits;

// Removes the surrogates from sorted ranges.
std::vector<CodePointRange> WithoutSurrogates(const std::vector<CodePointRange>& ranges) {
  std::vector<CodePointRange> result;
  for (const auto [first, last] : ranges) {
    if (first < 0xd800) result.push_back({first, std::min<char32_t>(last, 0xd7ff)});
    if (last > 0xdfff) result.push_back({std::max<char32_t>(first, 0xe000), last});
  }
  return result;
}

// Builds the bytes of characters that have the same number of bytes. A character is a number in
// base 64: `ranges` are numbers below 64^(continuations + 1), and their first digit goes into a
// byte with the bits of `marker`.
class Utf8Builder {
 public:
  explicit Utf8Builder(ExpressionPool* pool) : pool_(*pool) {}

  // NOLINTNEXTLINE(misc-no-recursion): at most as deep as a character has bytes.
  Expression Build(const std::vector<CodePointRange>& ranges, int continuations, uint8_t marker) {
    std::array<std::vector<CodePointRange>, kDigits> by_digit;
    const int shift = continuations * kDigitBits;
    const char32_t rest = (char32_t{1} << shift) - 1;
    for (const auto [first, last] : ranges) {
      for (char32_t digit = first >> shift; digit <= last >> shift; ++digit) {
        by_digit[digit].push_back({digit == first >> shift ? first & rest : 0,
                                   digit == last >> shift ? last & rest : rest});
      }
    }
    // Bytes with the same continuation share one alternative.
    std::map<Expression, ByteSet> bytes_by_rest;
    for (char32_t digit = 0; digit < kDigits; ++digit) {
      if (by_digit[digit].empty()) continue;
      const Expression tail = continuations == 0
                                  ? ExpressionPool::kEmpty
                                  : ContinuationBytes(by_digit[digit], continuations, rest);
      bytes_by_rest[tail].Add(static_cast<uint8_t>(marker | digit));
    }
    std::vector<Expression> alternatives;
    for (const auto& [tail, bytes] : bytes_by_rest) {
      alternatives.push_back(pool_.Sequence(pool_.Bytes(bytes), tail));
    }
    return pool_.Choice(alternatives);
  }

 private:
  // NOLINTNEXTLINE(misc-no-recursion): as Build.
  Expression ContinuationBytes(const std::vector<CodePointRange>& ranges, int continuations,
                               char32_t rest) {
    if (ranges.front() == CodePointRange{0, rest}) {
      const Expression any = pool_.Bytes(ByteSet::Range(0x80, 0xbf));
      return pool_.Repeat(any, continuations, continuations);
    }
    return Build(ranges, continuations - 1, 0x80);
  }

  ExpressionPool& pool_;
};

}  // namespace

CodePointSet::CodePointSet(std::vector<CodePointRange> ranges) {
  std::erase_if(ranges, [](const CodePointRange& range) { return range.first > range.last; });
  std::sort(ranges.begin(), ranges.end(),
            [](const CodePointRange& a, const CodePointRange& b) { return a.first < b.first; });
  std::vector<CodePointRange> merged;
  for (const CodePointRange& range : ranges) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  ranges_ = WithoutSurrogates(merged);
}

CodePointSet CodePointSet::Complement() const {
  std::vector<CodePointRange> gaps;
  char32_t next = 0;
  for (const auto [first, last] : ranges_) {
    if (first > next) gaps.push_back({next, first - 1});
    next = last + 1;
  }
  if (next <= kLastCodePoint) gaps.push_back({next, kLastCodePoint});
  return CodePointSet(std::move(gaps));
}

CodePointSet CodePointSet::Union(const CodePointSet& other) const {
  std::vector<CodePointRange> ranges = ranges_;
  ranges.insert(ranges.end(), other.ranges_.begin(), other.ranges_.end());
  return CodePointSet(std::move(ranges));
}

CodePointSet CodePointSet::Intersection(const CodePointSet& other) const {
  return Complement().Union(other.Complement()).Complement();
}

bool CodePointSet::Contains(char32_t code_point) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const CodePointRange& range) {
    return range.first <= code_point && code_point <= range.last;
  });
}

Expression Utf8(const CodePointSet& set, ExpressionPool* pool) {
  const auto between = [&](char32_t first, char32_t last) {
    std::vector<CodePointRange> part;
    for (const CodePointRange& range : set.ranges()) {
      const CodePointRange cut{std::max(range.first, first), std::min(range.last, last)};
      if (cut.first <= cut.last) part.push_back(cut);
    }
    return part;
  };
  ByteSet ascii;
  for (const auto [first, last] : between(0, 0x7f)) {
    ascii.Add(ByteSet::Range(static_cast<int>(first), static_cast<int>(last)));
  }
  Utf8Builder builder(pool);
  return pool->Choice({pool->Bytes(ascii), builder.Build(between(0x80, 0x7ff), 1, 0xc0),
                       builder.Build(between(0x800, 0xffff), 2, 0xe0),
                       builder.Build(between(0x10000, kLastCodePoint), 3, 0xf0)});
}

}  // namespace whipsnake::engine
