#include "engine/tokenizer/gpt2_scanner.h"

#include <string>
#include <vector>

#include "engine/tokenizer/regex.h"
#include "gtest/gtest.h"
#include "tests/engine/tokenizer/test_util.h"

namespace whipsnake::engine {
namespace {

class Gpt2ScannerTest : public testing::Test {
 protected:
  void ExpectLikeRegex(const std::string& text) {
    std::vector<Span> matches;
    ASSERT_TRUE(regex_->FindAll(text, &matches).ok());
    std::vector<std::string_view> expected, words;
    for (const Span& match : matches) {
      expected.push_back(std::string_view(text).substr(match.begin, match.end - match.begin));
    }
    ScanGpt2Words(text, &words);
    ASSERT_EQ(words, expected) << testing::PrintToString(text);
  }

  const nlohmann::json pattern_ = kGpt2Pattern;
  const absl::StatusOr<Regex> regex_ = Regex::Compile(JsonView(&pattern_));
};

TEST_F(Gpt2ScannerTest, AgreesWithTheExpressionOnEveryCodePoint) {
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string text = "a ";
    AppendUtf8(code_point, &text);
    text += "1  ";
    AppendUtf8(code_point, &text);
    text += ".";
    ExpectLikeRegex(text);
    if (HasFatalFailure()) return;
  }
}

TEST_F(Gpt2ScannerTest, AgreesWithTheExpressionOnEveryShortTextOfItsLetters) {
  const std::string letters = "' \nstrvem1.\xC2\xA0";
  for (int i = 0; i < 11 * 11 * 11 * 11 * 11; ++i) {
    std::string text;
    for (int digits = i; digits > 0; digits /= 11) {
      const int letter = digits % 11;
      text += letter < 10 ? letters.substr(letter, 1) : letters.substr(10);
    }
    ExpectLikeRegex(text);
    if (HasFatalFailure()) return;
  }
}

TEST_F(Gpt2ScannerTest, AgreesWithTheExpressionOnRandomTexts) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    ExpectLikeRegex(RandomText(random, random() % 50));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace whipsnake::engine
