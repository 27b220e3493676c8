// Regular expressions, choices, the budget, and what all forms share.
#include "engine/structured/constraint.h"

#include <thread>

#include "tests/engine/structured/support.h"

namespace whipsnake::engine {
namespace {

struct Language {
  std::string regex;
  std::vector<std::string> in, out;
};

TEST(RegexTest, AcceptsItsLanguageAndNothingElse) {
  const std::vector<Language> languages = {
      {"abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
      {"^abc$", {"abc"}, {"xabc", "abcx"}},
      {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
      {"(ab|c)*d", {"d", "abd", "cabcd"}, {"ad", "ab"}},
      {"(?:x)(?<n>y)+?", {"xy", "xyyy"}, {"x"}},
      {"a{2}b{1,3}c{2,}", {"aabcc", "aabbbccccc"}, {"abcc", "aabc", "aabbbbcc"}},
      {"[a-cx]", {"a", "b", "c", "x"}, {"d", "", "ab", "-"}},
      {"[^a-c]", {"d", "\n", "\xc3\xa9", "\xf0\x9f\x98\x80"}, {"a", "", "\xff"}},
      {"[a-]", {"a", "-"}, {"b"}},
      {"[\\]\\-x]", {"]", "-", "x"}, {"\\"}},
      {"\\d\\D\\w\\W\\s\\S", {"1aa- x"}, {"aaa- x", "1aaaxx"}},
      {".", {"a", "\xe2\x82\xac"}, {"\n", "", "ab"}},
      {"\\x41\\u00e9\\u{1f600}\\n\\.",
       {"A\xc3\xa9\xf0\x9f\x98\x80\n."},
       {"A\xc3\xa9\xf0\x9f\x98\x80nx"}},
      {"[\\u0000-\\u{10ffff}]",
       {"\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"},
       {"\xed\xa0\x80"}},
      {"(a?){3}", {"", "a", "aaa"}, {"aaaa"}},
      {"(a*)*b", {"b", "aaab"}, {"a"}},
      {"\xc3\xa9+", {"\xc3\xa9\xc3\xa9"}, {"\xc3"}},
  };
  for (const Language& language : languages) {
    Held held = Regex(language.regex);
    ASSERT_TRUE(held.status().ok()) << language.regex << ": " << held.status();
    for (const std::string& text : language.in)
      EXPECT_TRUE(held.Accepts(text)) << language.regex << " " << text;
    for (const std::string& text : language.out)
      EXPECT_FALSE(held.Accepts(text)) << language.regex << " " << text;
  }
}

TEST(RegexTest, RefusesWhatItDoesNotKnow) {
  for (const char* regex :
       {"(",     ")",     "(a",          "a)",       "[a",  "*a",    "+",     "a{",
        "a{x}",  "a{2",   "a{3,2}",      "a{10001}", "\\",  "\\1",   "\\b",   "\\p{L}",
        "(?=a)", "(?!a)", "(?<=a)",      "a^b",      "a$b", "(a$)b", "[z-a]", "[\\d-z]x[a-\\d]",
        "\\x4",  "\\u12", "\\u{110000}", "\\ud800",  "\xff"}) {
    Held held = Regex(regex);
    EXPECT_TRUE(absl::IsInvalidArgument(held.status())) << regex << " " << held.status();
    EXPECT_EQ(held.field(), "regex") << regex;
  }
  EXPECT_EQ(Regex("[]").field(), "regex") << "no text";
  EXPECT_EQ(Regex(std::string(300, '(')).field(), "regex");
  EXPECT_EQ(Regex(std::string(70'000, 'a')).field(), "regex");
  EXPECT_EQ(Regex("((a{10000}){10000}){10000}").field(), "regex") << "too long a text";
}

TEST(ChoicesTest, TheOutputIsOneOfThem) {
  Held held(Form::kChoices, {"yes", "no", "no way", "\xc3\xa9"});
  for (const char* text : {"yes", "no", "no way", "\xc3\xa9"})
    EXPECT_TRUE(held.Accepts(text)) << text;
  for (const char* text : {"", "y", "no ", "yesno", "\xc3"})
    EXPECT_FALSE(held.Accepts(text)) << text;
  EXPECT_EQ(Held(Form::kChoices, {}).field(), "choices");
  EXPECT_EQ(Held(Form::kChoices, {"a", ""}).field(), "choices[1]");
}

TEST(ConstraintTest, SaysWhenTheOutputMayAndMustEnd) {
  Held held(Form::kChoices, {"no", "no way"});
  Constraint& constraint = held.constraint();
  Constraint::State state = constraint.start();
  EXPECT_FALSE(constraint.complete(state));
  state = constraint.After(constraint.After(state, 'n'), 'o');
  EXPECT_TRUE(constraint.complete(state));
  EXPECT_FALSE(constraint.at_end(state));
  for (const char byte : std::string(" way")) state = constraint.After(state, byte);
  EXPECT_TRUE(constraint.complete(state));
  EXPECT_TRUE(constraint.at_end(state));
}

// The mask against its definition: a token is allowed where its bytes can be followed.
TEST(ConstraintTest, TheMaskIsThatOfTheTokensBytes) {
  std::mt19937_64 random(1);
  for (const char* regex :
       {"(the|an|abc)*[a-f]{0,300}x", "[^a]{3,9}", "(\\w+ ?)*\\.", "(ab){0,9}c"}) {
    Held held = Regex(regex);
    Constraint& constraint = held.constraint();
    for (int walk = 0; walk < 20; ++walk) {
      Constraint::State state = constraint.start();
      for (int step = 0; step < 12; ++step) {
        const auto mask = constraint.Allowed(state, kMuch);
        std::vector<int32_t> allowed;
        for (int32_t token = 0; token < held.vocabulary().vocab_size(); ++token) {
          Constraint::State next = state;
          bool possible = true;
          for (const char byte : held.vocabulary().bytes(token)) {
            possible =
                possible && Has(*constraint.Allowed(next, kMuch), static_cast<uint8_t>(byte));
            if (possible) next = constraint.After(next, static_cast<uint8_t>(byte));
          }
          ASSERT_EQ(Has(*mask, token), possible) << regex << " " << token;
          if (possible) allowed.push_back(token);
        }
        if (allowed.empty()) break;
        state = constraint.After(state, allowed[random() % allowed.size()]);
      }
    }
  }
}

// Whatever is chosen of what is allowed, the output is complete by the end of any budget that is
// not below the least.
TEST(ConstraintTest, EveryBudgetThatSufficesIsEnough) {
  std::mt19937_64 random(2);
  for (const char* regex : {"(the|an)+ [a-z]{5}", "a{3,40}", "(x(yz){2}){1,9}!", "[^a]*abcabc",
                            "(a|the long way home)b"}) {
    Held held = Regex(regex);
    ASSERT_TRUE(held.status().ok()) << regex;
    const int64_t least = held.constraint().shortest_tokens();
    EXPECT_FALSE(held.Generate(least - 1, random)) << regex;
    for (int64_t budget = least; budget < least + 12; ++budget) {
      for (int i = 0; i < 40; ++i) {
        const auto text = held.Generate(budget, random);
        ASSERT_TRUE(text) << regex << " " << budget;
        EXPECT_TRUE(held.Accepts(*text)) << regex << " " << *text;
      }
    }
  }
}

TEST(ConstraintTest, TheLeastIsCountedInTokens) {
  EXPECT_EQ(Regex("abc").constraint().shortest_tokens(), 1);
  EXPECT_EQ(Regex("abcabcab").constraint().shortest_tokens(), 3);
  EXPECT_EQ(Regex("x{5}").constraint().shortest_tokens(), 5);
  EXPECT_EQ(Regex("z*").constraint().shortest_tokens(), 0);
}

TEST(ConstraintTest, IsSharedBetweenThreads) {
  Held held = Regex("([a-z]{1,30} ){3,9}\\.");
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&held, thread] {
      std::mt19937_64 random(thread);
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(held.Generate(60, random));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ConstraintCacheTest, CompilesOnce) {
  ConstraintCache cache(SmallVocabulary());
  const auto first = cache.Get({Form::kRegex, {"a+"}});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*cache.Get({Form::kRegex, {"a+"}}), *first);
  EXPECT_NE(*cache.Get({Form::kRegex, {"a*"}}), *first);
  EXPECT_NE(*cache.Get({Form::kChoices, {"a+"}}), *first);
  for (int i = 0; i < 70; ++i)
    cache.Get({Form::kRegex, {"a{" + std::to_string(i) + "}"}}).IgnoreError();
  EXPECT_NE(*cache.Get({Form::kRegex, {"a+"}}), *first) << "long unused";
  EXPECT_FALSE(cache.Get({Form::kRegex, {"("}}).ok());
}

}  // namespace
}  // namespace whipsnake::engine
