// The work and memory of derivatives of expressions with thousands of alternatives.
#include "engine/structured/automaton.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/structured/regex_grammar.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

Automaton AutomatonOf(const std::string& regex) {
  ExpressionPool pool;
  const auto root = CompileRegex(regex, "regex", pool);
  EXPECT_TRUE(root.ok()) << root.status();
  EXPECT_FALSE(pool.overflowed());
  pool.FindLengths(ByteSet::Range(0, 255));
  return Automaton(pool, *root, /*horizon=*/100);
}

// x000, x001, ...
std::vector<std::string> Words(char first, int count) {
  std::vector<std::string> words;
  for (int i = 0; i < count; ++i) {
    words.push_back({first, static_cast<char>('0' + i / 100), static_cast<char>('0' + i / 10 % 10),
                     static_cast<char>('0' + i % 10)});
  }
  return words;
}

std::string AnyOf(const std::vector<std::string>& words) {
  std::string regex;
  for (const std::string& word : words) regex += (regex.empty() ? "" : "|") + word;
  return "(" + regex + ")";
}

bool Accepts(Automaton& automaton, std::string_view text) {
  automaton.SetWorkLimit(kNoLimit);
  automaton.SetMemoryLimit(std::numeric_limits<size_t>::max());
  Automaton::State state = automaton.start();
  for (const char byte : text) state = automaton.Next(state, static_cast<uint8_t>(byte));
  return automaton.complete(state);
}

// Expects both to accept the same texts: what a state keeps depends only on the text.
void ExpectSame(Automaton& one, Automaton& other, const std::vector<std::string>& words) {
  int accepted = 0;
  for (const std::string& word : words) {
    const std::string text = word + "!" + words[7] + "!";
    EXPECT_EQ(Accepts(one, text), Accepts(other, text)) << text;
    accepted += Accepts(one, text) ? 1 : 0;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, std::ssize(words)) << "if no state was cut, the test proves nothing";
}

TEST(AutomatonTest, NothingIsBuiltForAlternativesThatCannotBeginWithTheByte) {
  auto words = Words('x', 1000);
  for (int i = 0; i < 1000; ++i) words[i][0] = static_cast<char>('a' + i % 26);
  Automaton automaton = AutomatonOf("(" + AnyOf(words) + "!){30}");
  const size_t before = automaton.memory_bytes();
  std::string text;
  for (int i = 0; i < 30; ++i) text += words[i * 31] + "!";
  EXPECT_TRUE(Accepts(automaton, text));
  EXPECT_LT(automaton.memory_bytes() - before, 1'000'000u) << "all words 30 times are 4 MB";
}

TEST(AutomatonTest, ADerivativeStopsAtTheMemoryLimit) {
  const auto words = Words('x', 1000);
  Automaton whole = AutomatonOf("(" + AnyOf(words) + "!){2}"), bounded = whole;
  constexpr size_t kStep = 4 << 10;
  int tries = 0;
  size_t limit = 0;
  do {
    limit = bounded.memory_bytes() + kStep;
    bounded.SetMemoryLimit(limit);
    ASSERT_LT(++tries, 100);
  } while (bounded.Next(bounded.start(), 'x') == Automaton::kUnknown);
  EXPECT_LT(bounded.memory_bytes(), 3 * limit) << "a table that grows doubles";
  EXPECT_GT(tries, 3);
  ExpectSame(whole, bounded, words);
}

TEST(AutomatonTest, ADerivativeContinuesInTheNextSlice) {
  const auto words = Words('x', 1000);
  Automaton whole = AutomatonOf("(" + AnyOf(words) + "!){2}"), sliced = whole;
  int slices = 0;
  do {
    sliced.SetWorkLimit(100);
    ++slices;
    ASSERT_LT(slices, 100);
  } while (sliced.Next(sliced.start(), 'x') == Automaton::kUnknown);
  EXPECT_GT(slices, 10);
  ExpectSame(whole, sliced, words);
}

// As when the searches for two outputs of one constraint alternate.
TEST(AutomatonTest, AlternatingDerivativesAllFinish) {
  auto words = Words('x', 1000);
  for (const std::string& word : Words('y', 1000)) words.push_back(word);
  Automaton whole = AutomatonOf("(" + AnyOf(words) + "!){2}"), sliced = whole;
  bool x_found = false, y_found = false;
  for (int slices = 0; !x_found || !y_found; ++slices) {
    ASSERT_LT(slices, 100);
    for (const auto& [byte, found] : {std::pair('x', &x_found), std::pair('y', &y_found)}) {
      sliced.SetWorkLimit(100);
      *found = sliced.Next(sliced.start(), byte) != Automaton::kUnknown;
    }
  }
  ExpectSame(whole, sliced, words);
}

TEST(AutomatonTest, TheMemoryOfAnUnfinishedDerivativeIsCounted) {
  Automaton automaton = AutomatonOf(AnyOf(Words('x', 1000)) + "?");
  const size_t before = automaton.memory_bytes();
  automaton.SetWorkLimit(500);
  EXPECT_EQ(automaton.Next(automaton.start(), 'x'), Automaton::kUnknown);
  EXPECT_GT(automaton.memory_bytes(), before + (12 << 10));
  automaton.SetWorkLimit(kNoLimit);
  EXPECT_NE(automaton.Next(automaton.start(), 'x'), Automaton::kUnknown);
  EXPECT_LT(automaton.memory_bytes(), before + (6 << 10)) << "512 items of the new state";
}

}  // namespace
}  // namespace whipsnake::engine
