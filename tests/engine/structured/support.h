// Shared by the tests of structured output: a small vocabulary, and a compiled constraint
// to test texts against.
#ifndef WHIPSNAKE_TESTS_ENGINE_STRUCTURED_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_STRUCTURED_SUPPORT_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/structured/constraint.h"
#include "tests/engine/fakes/fake_model.h"

namespace whipsnake::engine {

using Kind = ConstraintSpec::Kind;

// Every byte, and pieces of JSON and of words. Some pieces are parts of characters.
inline std::shared_ptr<const VocabularyTrie> SmallVocabulary() {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  for (const char* piece :
       {"{\"",      "\":",      "\": ",     "\",",    "\", \"", "\"}", "},",   "}]",   "[]",
        "true",     "false",    "null",     "the",    " the",   "an",  "name", "age",  "12",
        "100",      "000",      "-1",       "0.",     ".5",     "e\"", "\\u",  "\\\"", "\xc3\xa9",
        "\xe2\x82", "\x82\xac", "\xf0\x9f", "\"a\":", "[[",     "]]",  "ab",   "abc"}) {
    pieces.emplace_back(piece);
  }
  const FakeTokenizer tokenizer(pieces);
  return std::make_shared<const VocabularyTrie>(tokenizer, tokenizer.size());
}

// Returns the tokens allowed next, running as many slices of work as needed.
inline std::shared_ptr<const NextTokens> Next(Constraint& constraint, Constraint::Cursor& cursor,
                                              int64_t tokens_left) {
  while (true) {
    auto next = constraint.Find(cursor, tokens_left);
    EXPECT_TRUE(next.ok()) << next.status();
    if (!next.ok()) return std::make_shared<NextTokens>();
    if (*next != nullptr) return *next;
  }
}

inline constexpr int64_t kUnlimitedTokens = int64_t{1} << 30;

// A compiled constraint with the small vocabulary.
class CompiledConstraint {
 public:
  CompiledConstraint(Kind kind, std::vector<std::string> texts,
                     const ConstraintLimits& limits = {}) {
    auto compiled = Constraint::Compile({kind, std::move(texts)}, vocabulary_, limits);
    status_ = compiled.status();
    if (compiled.ok()) constraint_ = *std::move(compiled);
  }

  const absl::Status& status() const { return status_; }
  std::string field() const { return FieldOf(status_); }
  Constraint& constraint() { return *constraint_; }
  const VocabularyTrie& vocabulary() const { return *vocabulary_; }

  // Tests `text` byte by byte.
  bool Accepts(std::string_view text) {
    EXPECT_TRUE(status_.ok()) << status_;
    if (!status_.ok()) return false;
    Constraint::Cursor cursor;
    for (const char byte : text) {
      const int32_t token = static_cast<uint8_t>(byte);
      if (!Contains(Next(*constraint_, cursor, kUnlimitedTokens)->allowed, token)) return false;
      constraint_->Advance(cursor, token);
    }
    return Next(*constraint_, cursor, kUnlimitedTokens)->complete;
  }

  // Generates a text of random allowed tokens. Returns nullopt if it is not complete within the
  // budget.
  std::optional<std::string> Generate(int64_t budget, std::mt19937_64& random) {
    Constraint::Cursor cursor;
    std::string text;
    for (int64_t left = budget; left > 0; --left) {
      const auto next = Next(*constraint_, cursor, left);
      if (next->complete && random() % 4 == 0) return text;
      std::vector<int32_t> allowed;
      for (int32_t token = 0; token < vocabulary_->vocab_size(); ++token) {
        if (Contains(next->allowed, token)) allowed.push_back(token);
      }
      if (allowed.empty()) break;
      const int32_t token = allowed[random() % allowed.size()];
      text += vocabulary_->bytes(token);
      constraint_->Advance(cursor, token);
    }
    if (!Next(*constraint_, cursor, kUnlimitedTokens)->complete) return std::nullopt;
    return text;
  }

 private:
  const std::shared_ptr<const VocabularyTrie> vocabulary_ = SmallVocabulary();
  absl::Status status_;
  std::shared_ptr<Constraint> constraint_;
};

inline CompiledConstraint Regex(const std::string& text) {
  return CompiledConstraint(Kind::kRegex, {text});
}
inline CompiledConstraint Schema(const std::string& text) {
  return CompiledConstraint(Kind::kJsonSchema, {text});
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_STRUCTURED_SUPPORT_H_
