#include "engine/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace whipsnake::engine {
namespace {

TEST(Utf8Test, EachMaximalSubpartBecomesOneReplacementCharacter) {
  // The example in section 3.9, table 3-11, of the Unicode Standard, and a text that ends inside a
  // character.
  std::string text;
  AppendLossy("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", &text);
  EXPECT_EQ(text, "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  text.clear();
  AppendLossy("\xF0\x9F\x98", &text);
  EXPECT_EQ(text, "\uFFFD");
}

TEST(Utf8Test, EveryCodePointGoesThereAndBack) {
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string text;
    AppendUtf8(code_point, &text);
    ASSERT_EQ(FindInvalidUtf8(text), std::string::npos);
    ASSERT_EQ(CodePointBefore("a" + text, 1 + text.size()), code_point);
    for (size_t length = 1; length < text.size(); ++length) {
      ASSERT_EQ(IncompleteTail("x" + text.substr(0, length)), length);
    }
    ASSERT_EQ(IncompleteTail(text), 0);
  }
}

TEST(Utf8Test, CutsBetweenCharactersAndReplacesWhatIsMalformed) {
  EXPECT_EQ(BoundedUtf8("short", 5), "short");
  EXPECT_EQ(BoundedUtf8("longer", 5), "lo...");
  EXPECT_EQ(BoundedUtf8("a\xFF b", 100), "a\uFFFD b");
  EXPECT_EQ(BoundedUtf8("\xFF\xFF", 5), "...");
  const std::string wide = "\xF0\x9F\x90\x8D";  // a snake, four bytes
  for (int limit = 3; limit < 40; ++limit) {
    const std::string cut = BoundedUtf8(wide + wide + wide + wide + wide, limit);
    EXPECT_TRUE(IsUtf8(cut)) << limit;
    EXPECT_LE(cut.size(), limit);
    EXPECT_EQ(cut.ends_with("..."), limit < 20) << limit;
  }
}

TEST(Utf8Test, TellsWhatIsWellFormed) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("\xC3\xA4 \xE4\xBD\xA0 \xF0\x9F\x90\x8D"));
  for (const char* bad : {"\xC3", "\x80", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF"}) {
    EXPECT_FALSE(IsUtf8(bad));
    EXPECT_FALSE(IsUtf8(std::string("text ") + bad + " text"));
  }
}

TEST(Utf8Test, CountsCodePoints) {
  EXPECT_EQ(CountCharacters(""), 0);
  EXPECT_EQ(CountCharacters("\xC3\xA4\xE4\xBD\xA0z"), 3);
}

}  // namespace
}  // namespace whipsnake::engine
