// Regular expressions with ICU: the same matches as those of the pattern as it is written, on runs
// of any length.
#include "engine/tokenizer/regex.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/tokenizer/test_util.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

Regex Compile(const json& pattern) {
  auto regex = Regex::Compile(JsonView(&pattern, "pattern"));
  EXPECT_TRUE(regex.ok()) << regex.status();
  return *std::move(regex);
}

// The matches and what is between them.
std::vector<std::string> Pieces(const Regex& regex, const std::string& text) {
  std::vector<Span> matches;
  EXPECT_TRUE(regex.FindAll(text, &matches).ok()) << text.size();
  std::vector<std::string> pieces;
  size_t covered = 0;
  for (const Span& match : matches) {
    if (covered < match.begin) pieces.push_back(text.substr(covered, match.begin - covered));
    if (match.begin < match.end)
      pieces.push_back(text.substr(match.begin, match.end - match.begin));
    covered = match.end;
  }
  if (covered < text.size()) pieces.push_back(text.substr(covered));
  return pieces;
}

TEST(RegexTest, SplitsLikeTokenizers) {
  const json golden = ReadGolden("splits.json");
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  for (const json& one : golden["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const Regex regex = Compile(one["pattern"]);
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(Pieces(regex, texts[i]), one["pieces"][i].get<std::vector<std::string>>())
          << json(texts[i]);
    }
  }
}

// The rewritten pattern against ICU's own reading of it, where the two syntaxes agree.
TEST(RegexTest, RewritingChangesNoMatch) {
  std::mt19937 random(5);
  const json golden = ReadGolden("splits.json");
  for (const json& one : golden["cases"]) {
    if (one["name"] == "sets" || one["name"] == "repetitions") continue;  // have \w and \h
    SCOPED_TRACE(one["name"].get<std::string>());
    const Regex regex = Compile(one["pattern"]);
    UErrorCode error = U_ZERO_ERROR;
    UParseError where;
    const std::unique_ptr<icu::RegexPattern> plain(
        icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(one["pattern"].get<std::string>()),
                                   UREGEX_MULTILINE | UREGEX_UNIX_LINES, where, error));
    ASSERT_TRUE(U_SUCCESS(error));
    for (int round = 0; round < 300; ++round) {
      const std::string text = RandomText(random, random() % 80);
      const icu::UnicodeString utf16 = icu::UnicodeString::fromUTF8(text);
      const std::unique_ptr<icu::RegexMatcher> matcher(plain->matcher(utf16, error));
      std::vector<std::string> expected;
      while (matcher->find(error)) matcher->group(error).toUTF8String(expected.emplace_back());
      EXPECT_EQ(Pieces(regex, text), expected) << json(text);
    }
  }
}

// More than the memory that ICU has for the state of one match.
TEST(RegexTest, LongRunsOfOneClassAreOneMatch) {
  constexpr size_t kLong = 1'000'000;
  const json golden = ReadGolden("splits.json");
  for (const json& one : golden["cases"]) {
    if (one["name"] == "sets" || one["name"] == "repetitions") continue;
    SCOPED_TRACE(one["name"].get<std::string>());
    const Regex regex = Compile(one["pattern"]);
    const auto lengths = [&](const std::string& text) {
      std::vector<size_t> all;
      for (const std::string& piece : Pieces(regex, text)) all.push_back(piece.size());
      return all;
    };
    using testing::ElementsAre;
    EXPECT_THAT(lengths(std::string(kLong, ' ')), ElementsAre(kLong));
    EXPECT_THAT(lengths(std::string(kLong, ' ') + "x"), ElementsAre(kLong - 1, 2));
    EXPECT_THAT(lengths(std::string(kLong, '\t') + "\nx"), ElementsAre(kLong + 1, 1));
    EXPECT_THAT(lengths(std::string(kLong, 'x')), ElementsAre(kLong));
    EXPECT_THAT(lengths(" " + std::string(kLong, '=')), ElementsAre(kLong + 1));
    EXPECT_THAT(lengths(std::string(kLong, '\n') + " "), ElementsAre(kLong, 1));
  }
}

TEST(RegexTest, AnEmptySetIsRefused) {
  for (const char* pattern : {"[]a]", "[^]a]"}) {
    const json text = pattern;
    EXPECT_EQ(Regex::Compile(JsonView(&text)).status().code(), absl::StatusCode::kUnimplemented);
  }
}

}  // namespace
}  // namespace whipsnake::engine
