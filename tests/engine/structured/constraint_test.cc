// Regular expressions, choices, the budget, and what all kinds of constraints share.
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
    CompiledConstraint compiled = Regex(language.regex);
    ASSERT_TRUE(compiled.status().ok()) << language.regex << ": " << compiled.status();
    for (const std::string& text : language.in)
      EXPECT_TRUE(compiled.Accepts(text)) << language.regex << " " << text;
    for (const std::string& text : language.out)
      EXPECT_FALSE(compiled.Accepts(text)) << language.regex << " " << text;
  }
}

TEST(RegexTest, RefusesInvalidAndUnsupportedSyntax) {
  for (const char* regex :
       {"(",     ")",     "(a",          "a)",       "[a",  "*a",    "+",     "a{",
        "a{x}",  "a{2",   "a{3,2}",      "a{10001}", "\\",  "\\1",   "\\b",   "\\p{L}",
        "(?=a)", "(?!a)", "(?<=a)",      "a^b",      "a$b", "(a$)b", "[z-a]", "[\\d-z]x[a-\\d]",
        "\\x4",  "\\u12", "\\u{110000}", "\\ud800",  "\xff"}) {
    CompiledConstraint compiled = Regex(regex);
    EXPECT_TRUE(absl::IsInvalidArgument(compiled.status())) << regex << " " << compiled.status();
    EXPECT_EQ(compiled.field(), "regex") << regex;
  }
  EXPECT_EQ(Regex("[]").field(), "regex") << "no text";
  EXPECT_EQ(Regex(std::string(300, '(')).field(), "regex");
  EXPECT_EQ(Regex(std::string(70'000, 'a')).field(), "regex");
  EXPECT_EQ(Regex("((a{10000}){10000}){10000}").field(), "regex") << "too long a text";
}

TEST(RegexTest, ErrorsNameTheFaultAndItsPosition) {
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
  CompiledConstraint compiled(Kind::kChoices, {"yes", "no", "no way", "\xc3\xa9"});
  for (const char* text : {"yes", "no", "no way", "\xc3\xa9"})
    EXPECT_TRUE(compiled.Accepts(text)) << text;
  for (const char* text : {"", "y", "no ", "yesno", "\xc3"})
    EXPECT_FALSE(compiled.Accepts(text)) << text;
  EXPECT_EQ(CompiledConstraint(Kind::kChoices, {}).field(), "choices");
  EXPECT_EQ(CompiledConstraint(Kind::kChoices, {"a", ""}).field(), "choices[1]");
}

TEST(ConstraintTest, TellsWhenTheOutputMayAndMustEnd) {
  CompiledConstraint compiled(Kind::kChoices, {"no", "no way"});
  Constraint& constraint = compiled.constraint();
  Constraint::Cursor cursor;
  EXPECT_FALSE(Next(constraint, cursor, kUnlimitedTokens)->complete);
  constraint.Advance(cursor, 'n');
  EXPECT_TRUE(Next(constraint, cursor, kUnlimitedTokens)->last.empty());
  constraint.Advance(cursor, 'o');
  EXPECT_TRUE(Next(constraint, cursor, kUnlimitedTokens)->complete);
  for (const char byte : std::string(" wa")) constraint.Advance(cursor, byte);
  EXPECT_FALSE(Next(constraint, cursor, kUnlimitedTokens)->complete);
  EXPECT_TRUE(Contains(Next(constraint, cursor, kUnlimitedTokens)->last, 'y'));
  constraint.Advance(cursor, 'y');
  const auto end = Next(constraint, cursor, kUnlimitedTokens);
  EXPECT_TRUE(end->complete);
  EXPECT_EQ(end->allowed, TokenMask(end->allowed.size())) << "nothing can follow";
}

// Compares the mask with its definition: a token is allowed if its bytes can follow one by one.
TEST(ConstraintTest, TheMaskAgreesWithTheTokensBytes) {
  std::mt19937_64 random(1);
  for (const char* regex :
       {"(the|an|abc)*[a-f]{0,300}x", "[^a]{3,9}", "(\\w+ ?)*\\.", "(ab){0,9}c"}) {
    CompiledConstraint compiled = Regex(regex);
    Constraint& constraint = compiled.constraint();
    for (int walk = 0; walk < 20; ++walk) {
      Constraint::Cursor cursor;
      for (int step = 0; step < 12; ++step) {
        const auto mask = Next(constraint, cursor, kUnlimitedTokens);
        std::vector<int32_t> allowed;
        for (int32_t token = 0; token < compiled.vocabulary().vocab_size(); ++token) {
          Constraint::Cursor after = cursor;
          bool possible = true;
          for (const char byte : compiled.vocabulary().bytes(token)) {
            const int32_t alone = static_cast<uint8_t>(byte);
            possible =
                possible && Contains(Next(constraint, after, kUnlimitedTokens)->allowed, alone);
            if (possible) constraint.Advance(after, alone);
          }
          ASSERT_EQ(Contains(mask->allowed, token), possible) << regex << " " << token;
          if (possible) allowed.push_back(token);
        }
        if (allowed.empty()) break;
        constraint.Advance(cursor, allowed[random() % allowed.size()]);
      }
    }
  }
}

// Whichever allowed tokens are chosen, the output is complete within any budget that is not below
// the minimum.
TEST(ConstraintTest, EverySufficientBudgetGivesACompleteOutput) {
  std::mt19937_64 random(2);
  for (const char* regex : {"(the|an)+ [a-z]{5}", "a{3,40}", "(x(yz){2}){1,9}!", "[^a]*abcabc",
                            "(a|the long way home)b"}) {
    CompiledConstraint compiled = Regex(regex);
    ASSERT_TRUE(compiled.status().ok()) << regex;
    const int64_t min_tokens = compiled.constraint().shortest_tokens();
    EXPECT_FALSE(compiled.Generate(min_tokens - 1, random)) << regex;
    for (int64_t budget = min_tokens; budget < min_tokens + 12; ++budget) {
      for (int i = 0; i < 40; ++i) {
        const auto text = compiled.Generate(budget, random);
        ASSERT_TRUE(text) << regex << " " << budget;
        EXPECT_TRUE(compiled.Accepts(*text)) << regex << " " << *text;
      }
    }
  }
}

TEST(ConstraintTest, TheShortestOutputIsCountedInTokens) {
  EXPECT_EQ(Regex("abc").constraint().shortest_tokens(), 1);
  EXPECT_EQ(Regex("abcabcab").constraint().shortest_tokens(), 3);
  EXPECT_EQ(Regex("x{5}").constraint().shortest_tokens(), 5);
  EXPECT_EQ(Regex("z*").constraint().shortest_tokens(), 0);
}

TEST(ConstraintTest, IsSharedBetweenThreads) {
  CompiledConstraint compiled = Regex("([a-z]{1,30} ){3,9}\\.");
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&compiled, thread] {
      std::mt19937_64 random(thread);
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(compiled.Generate(60, random));
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
  CompiledConstraint compiled = Regex(text + "]");
  EXPECT_TRUE(compiled.Accepts("\xe4\xb8\x80"));
  EXPECT_FALSE(compiled.Accepts("\xe4\xb8\x81"));
  std::string several;
  for (int i = 0; i < 1000; ++i) several += "\\W?";
  EXPECT_FALSE(Regex(several).Accepts("a"));
}

// A byte that is not a token by itself can occur only inside a longer token.
TEST(ConstraintTest, ShortestTextsUseOnlyBytesThatAreTokens) {
  const FakeTokenizer tokenizer({"b", "ab", "c", "xa"});
  const auto vocabulary = std::make_shared<const VocabularyTrie>(tokenizer, tokenizer.size());
  const auto compiled = Constraint::Compile({Kind::kRegex, {"[ab]{3}c"}}, vocabulary);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  Constraint& constraint = **compiled;
  EXPECT_EQ(constraint.shortest_tokens(), 4) << "b b b c";
  for (int seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    Constraint::Cursor cursor;
    std::string text;
    for (int64_t left = 4; left > 0; --left) {
      const auto next = Next(constraint, cursor, left);
      std::vector<int32_t> allowed;
      for (int32_t token = 0; token < 4; ++token) {
        if (Contains(next->allowed, token)) allowed.push_back(token);
      }
      if (allowed.empty()) break;
      const int32_t token = allowed[random() % allowed.size()];
      text += vocabulary->bytes(token);
      constraint.Advance(cursor, token);
    }
    EXPECT_TRUE(Next(constraint, cursor, kUnlimitedTokens)->complete) << text;
  }
  const auto none = Constraint::Compile({Kind::kRegex, {"a"}}, vocabulary);
  EXPECT_TRUE(absl::IsInvalidArgument(none.status())) << "no token spells it";
}

// An expression whose states never repeat: for example, it accepts an x a hundred characters after
// an e.
constexpr char kHeavy[] = "[ -~]*(e[ -~]{100}|t[ -~]{130}|a[ -~]{160}|o[ -~]{190})x";

// Generates one output by random choices. Returns its tokens, each with a digest of the mask that
// it was chosen from.
std::vector<std::pair<int32_t, size_t>> GenerateWithMasks(Constraint& constraint,
                                                          int64_t vocab_size, int steps,
                                                          int64_t* peak_bytes = nullptr) {
  std::vector<std::pair<int32_t, size_t>> walk;
  std::mt19937_64 random(1);
  Constraint::Cursor cursor;
  for (int step = 0; step < steps; ++step) {
    const auto next = Next(constraint, cursor, kUnlimitedTokens);
    std::vector<int32_t> allowed;
    size_t digest = next->complete;
    for (int32_t token = 0; token < vocab_size; ++token) {
      if (!Contains(next->allowed, token)) continue;
      allowed.push_back(token);
      digest = digest * 31 + token;
    }
    if (allowed.empty()) break;
    walk.emplace_back(allowed[random() % allowed.size()], digest);
    constraint.Advance(cursor, walk.back().first);
    if (peak_bytes != nullptr) *peak_bytes = std::max(*peak_bytes, constraint.memory_bytes());
  }
  return walk;
}

TEST(ConstraintTest, MemoryIsBoundedAndDroppedMasksAreComputedAgain) {
  CompiledConstraint large(Kind::kRegex, {kHeavy}, {.max_bytes = int64_t{1} << 30});
  const ConstraintLimits small = {.max_bytes = int64_t{1} << 20, .slice_work = 1 << 12};
  CompiledConstraint bounded(Kind::kRegex, {kHeavy}, small);
  const int64_t vocab_size = large.vocabulary().vocab_size();
  int64_t peak_bytes = 0;
  const auto expected = GenerateWithMasks(large.constraint(), vocab_size, 500);
  EXPECT_EQ(expected.size(), 500u);
  EXPECT_GT(large.constraint().memory_bytes(), 2 * small.max_bytes)
      << "if all fits, the test proves nothing";
  EXPECT_EQ(GenerateWithMasks(bounded.constraint(), vocab_size, 500, &peak_bytes), expected);
  EXPECT_LE(peak_bytes, small.max_bytes);
}

TEST(RegexTest, ClassesOfPosixAreRefused) {
  EXPECT_EQ(
      Regex("[[:alpha:]]+").status().message(),
      "regex: a class of POSIX at character 1 seen, expected \\d, \\w, \\s or ranges; a literal "
      "one is \\[");
  EXPECT_EQ(Regex("a[x[:digit:]]").field(), "regex");
  EXPECT_TRUE(Regex("[[:]").Accepts(":"));
  EXPECT_TRUE(Regex("[\\[:a:]").Accepts("["));
}

TEST(ConstraintTest, ExceedingALimitIsResourceExhausted) {
  CompiledConstraint memory(Kind::kRegex, {kHeavy}, {.max_bytes = 60 << 10});
  CompiledConstraint work(Kind::kRegex, {kHeavy}, {.max_work = 100});
  for (const CompiledConstraint* compiled : {&memory, &work}) {
    EXPECT_TRUE(absl::IsResourceExhausted(compiled->status())) << compiled->status();
    EXPECT_EQ(compiled->status().message().substr(0, 22), "regex: needs more than")
        << compiled->status();
  }
}

TEST(ConstraintTest, FindContinuesInTheNextSlice) {
  CompiledConstraint compiled(Kind::kRegex, {"[a-z]{3}(one|two|three)*"}, {.slice_work = 1});
  Constraint::Cursor cursor;
  for (const char letter : {'x', 'y', 'z', 't'}) compiled.constraint().Advance(cursor, letter);
  EXPECT_EQ(compiled.constraint().FindIfKnown(cursor, kUnlimitedTokens), nullptr);
  int slices = 1;
  while (*compiled.constraint().Find(cursor, kUnlimitedTokens) == nullptr) ++slices;
  EXPECT_GT(slices, 3);
  EXPECT_TRUE(Contains(compiled.constraint().FindIfKnown(cursor, kUnlimitedTokens)->allowed, 'w'));
}

}  // namespace
}  // namespace whipsnake::engine
