// Regular expressions, choices, the budget, and what all forms share.
#include "engine/structured/constraint.h"

#include <cstring>
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

TEST(RegexTest, SaysWhatIsWrongAndWhere) {
  const auto starts = [](const char* regex, const char* message) {
    EXPECT_EQ(Regex(regex).status().message().substr(0, std::strlen(message)), message);
  };
  starts("(?i)a",
         "regex: a group of another kind at character 2 seen, expected (...), (?:...) or "
         "(?<name>...): look-around and inline flags are not supported");
  starts("\\b", "regex: an unknown escape at character 1 seen, expected \\d ");
  starts("a{10001}", "regex: too many repetitions at character 7 seen, expected at most 10000");
  starts("a^b", "regex: '^' at character 1 seen, expected '^' only at the start of a top-level");
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
  Constraint::Place place;
  EXPECT_FALSE(Next(constraint, place, kMuch)->complete);
  constraint.Advance(place, 'n');
  EXPECT_TRUE(Next(constraint, place, kMuch)->last.empty());
  constraint.Advance(place, 'o');
  EXPECT_TRUE(Next(constraint, place, kMuch)->complete);
  for (const char byte : std::string(" wa")) constraint.Advance(place, byte);
  EXPECT_FALSE(Next(constraint, place, kMuch)->complete);
  EXPECT_TRUE(Contains(Next(constraint, place, kMuch)->last, 'y'));
  constraint.Advance(place, 'y');
  const auto end = Next(constraint, place, kMuch);
  EXPECT_TRUE(end->complete);
  EXPECT_EQ(end->allowed, TokenMask(end->allowed.size())) << "nothing can follow";
}

// Compares the mask with its definition: a token is allowed if its bytes can follow one by one.
TEST(ConstraintTest, TheMaskIsThatOfTheTokensBytes) {
  std::mt19937_64 random(1);
  for (const char* regex :
       {"(the|an|abc)*[a-f]{0,300}x", "[^a]{3,9}", "(\\w+ ?)*\\.", "(ab){0,9}c"}) {
    Held held = Regex(regex);
    Constraint& constraint = held.constraint();
    for (int walk = 0; walk < 20; ++walk) {
      Constraint::Place place;
      for (int step = 0; step < 12; ++step) {
        const auto mask = Next(constraint, place, kMuch);
        std::vector<int32_t> allowed;
        for (int32_t token = 0; token < held.vocabulary().vocab_size(); ++token) {
          Constraint::Place after = place;
          bool possible = true;
          for (const char byte : held.vocabulary().bytes(token)) {
            const int32_t alone = static_cast<uint8_t>(byte);
            possible = possible && Contains(Next(constraint, after, kMuch)->allowed, alone);
            if (possible) constraint.Advance(after, alone);
          }
          ASSERT_EQ(Contains(mask->allowed, token), possible) << regex << " " << token;
          if (possible) allowed.push_back(token);
        }
        if (allowed.empty()) break;
        constraint.Advance(place, allowed[random() % allowed.size()]);
      }
    }
  }
}

// Whichever allowed tokens are chosen, the output is complete within any budget that is not below
// the minimum.
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

TEST(RegexTest, ClassesOfManyCharactersAreCompiled) {
  // Every second character from U+4E00 on: 10,000 ranges, 30 KB.
  std::string text = "[";
  for (char32_t c = 0x4e00; c < 0x4e00 + 20'000; c += 2) {
    text += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
             static_cast<char>(0x80 | (c & 0x3f))};
  }
  Held held = Regex(text + "]");
  EXPECT_TRUE(held.Accepts("\xe4\xb8\x80"));
  EXPECT_FALSE(held.Accepts("\xe4\xb8\x81"));
  std::string several;
  for (int i = 0; i < 1000; ++i) several += "\\W?";
  EXPECT_FALSE(Regex(several).Accepts("a"));
}

// A byte that is not a token by itself can occur only inside a longer token.
TEST(ConstraintTest, BytesThatAreNoTokensAreNotTheShortestWay) {
  const FakeTokenizer tokenizer({"b", "ab", "c", "xa"});
  const auto vocabulary = std::make_shared<const VocabularyTrie>(tokenizer, tokenizer.size());
  const auto compiled = Constraint::Compile({Form::kRegex, {"[ab]{3}c"}}, vocabulary);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  Constraint& constraint = **compiled;
  EXPECT_EQ(constraint.shortest_tokens(), 4) << "b b b c";
  for (int seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    Constraint::Place place;
    std::string text;
    for (int64_t left = 4; left > 0; --left) {
      const auto next = Next(constraint, place, left);
      std::vector<int32_t> allowed;
      for (int32_t token = 0; token < 4; ++token) {
        if (Contains(next->allowed, token)) allowed.push_back(token);
      }
      if (allowed.empty()) break;
      const int32_t token = allowed[random() % allowed.size()];
      text += vocabulary->bytes(token);
      constraint.Advance(place, token);
    }
    EXPECT_TRUE(Next(constraint, place, kMuch)->complete) << text;
  }
  const auto none = Constraint::Compile({Form::kRegex, {"a"}}, vocabulary);
  EXPECT_TRUE(absl::IsInvalidArgument(none.status())) << "no token spells it";
}

// An expression whose states never repeat: for example, it accepts an x a hundred characters after
// an e.
constexpr char kHeavy[] = "[ -~]*(e[ -~]{100}|t[ -~]{130}|a[ -~]{160}|o[ -~]{190})x";

// Generates one output by random choices. Returns its tokens, each with a digest of the mask that
// it was chosen from.
std::vector<std::pair<int32_t, size_t>> Walk(Constraint& constraint, int64_t vocab_size, int steps,
                                             int64_t* most_bytes = nullptr) {
  std::vector<std::pair<int32_t, size_t>> walk;
  std::mt19937_64 random(1);
  Constraint::Place place;
  for (int step = 0; step < steps; ++step) {
    const auto next = Next(constraint, place, kMuch);
    std::vector<int32_t> allowed;
    size_t digest = next->complete;
    for (int32_t token = 0; token < vocab_size; ++token) {
      if (!Contains(next->allowed, token)) continue;
      allowed.push_back(token);
      digest = digest * 31 + token;
    }
    if (allowed.empty()) break;
    walk.emplace_back(allowed[random() % allowed.size()], digest);
    constraint.Advance(place, walk.back().first);
    if (most_bytes != nullptr) *most_bytes = std::max(*most_bytes, constraint.memory_bytes());
  }
  return walk;
}

TEST(ConstraintTest, MemoryIsBoundedAndWhatWasDroppedIsFoundAnew) {
  Held large(Form::kRegex, {kHeavy}, {.max_bytes = int64_t{1} << 30});
  const ConstraintLimits small = {.max_bytes = int64_t{1} << 20, .slice_work = 1 << 12};
  Held bounded(Form::kRegex, {kHeavy}, small);
  const int64_t vocab_size = large.vocabulary().vocab_size();
  int64_t most = 0;
  const auto expected = Walk(large.constraint(), vocab_size, 500);
  EXPECT_EQ(expected.size(), 500u);
  EXPECT_GT(large.constraint().memory_bytes(), 2 * small.max_bytes) << "else it shows nothing";
  EXPECT_EQ(Walk(bounded.constraint(), vocab_size, 500, &most), expected);
  EXPECT_LE(most, small.max_bytes);
}

TEST(ConstraintTest, WhatNeedsMoreThanIsAllowedIsRefusedByName) {
  Held memory(Form::kRegex, {kHeavy}, {.max_bytes = 60 << 10});
  Held work(Form::kRegex, {kHeavy}, {.max_work = 100});
  for (const Held* held : {&memory, &work}) {
    EXPECT_TRUE(absl::IsResourceExhausted(held->status())) << held->status();
    EXPECT_EQ(held->status().message().substr(0, 22), "regex: needs more than") << held->status();
  }
}

TEST(ConstraintTest, FindGoesOnWhereItsSliceEnded) {
  Held held(Form::kRegex, {"[a-z]{3}(one|two|three)*"}, {.slice_work = 1});
  Constraint::Place place;
  for (const char letter : {'x', 'y', 'z', 't'}) held.constraint().Advance(place, letter);
  EXPECT_EQ(held.constraint().Known(place, kMuch), nullptr);
  int slices = 1;
  while (*held.constraint().Find(place, kMuch) == nullptr) ++slices;
  EXPECT_GT(slices, 3);
  EXPECT_TRUE(Contains(held.constraint().Known(place, kMuch)->allowed, 'w'));
}

}  // namespace
}  // namespace whipsnake::engine
