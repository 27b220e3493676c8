#include "engine/finetune/data/examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "engine/base/status.h"
#include "tests/engine/fakes/fake_model.h"
#include "tests/engine/finetune/support.h"

namespace whipsnake::engine {
namespace {

using Tokens = std::vector<int32_t>;

class ExamplesTest : public DatasetTest {};

TEST_F(ExamplesTest, OnlyResponsesOfPairsEndWithTheEndOfText) {
  Row row;
  row.input = "p";
  row.responses = {"ab", "c"};
  TokenizedRow tokens = *TokenizeRow(*tokenizer_, Task::kChoice, 0, row);
  EXPECT_EQ(tokens.input, Bytes("p"));
  EXPECT_EQ(tokens.responses, (Sequences{Bytes("ab"), Bytes("c")}));
  EXPECT_EQ(tokens.tokens(), 4);
  EXPECT_EQ(tokens.longest(), 3);
  tokens = *TokenizeRow(*tokenizer_, Task::kDpo, 0, row);
  EXPECT_EQ(tokens.responses, (Sequences{{'a' + 1, 'b' + 1, 0}, {'c' + 1, 0}}));
}

TEST_F(ExamplesTest, NameWhatHasTooFewTokens) {
  const auto field = [&](Task task, Row row, int64_t shortest = 1) {
    return FieldOf(
        CheckLengths(task, shortest, *TokenizeRow(*tokenizer_, task, /*end_of_text=*/0, row)));
  };
  Row row;
  EXPECT_EQ(field(Task::kCausalLm, row), "text");
  row.input = "x";
  EXPECT_EQ(field(Task::kCausalLm, row), "");
  EXPECT_EQ(field(Task::kCausalLm, row, 2), "text");
  row.responses = {"a", ""};
  EXPECT_EQ(field(Task::kChoice, row), "choices[1]");
  EXPECT_EQ(field(Task::kDpo, row), "rejected");
  row.responses = {"", "a"};
  EXPECT_EQ(field(Task::kDpo, row), "chosen");
  row.responses = {"b", "a"};
  EXPECT_EQ(field(Task::kDpo, row, 2), "");
  row.input = "";
  EXPECT_EQ(field(Task::kDpo, row), "prompt");
}

TEST_F(ExamplesTest, TextsAreCutAtTheirEnd) {
  Tokens text(9);
  std::iota(text.begin(), text.end(), 0);
  for (const int64_t length : {2, 8, 9, 100}) {
    const Example example = MakeExample({text, {}}, length);
    EXPECT_EQ(example.sequences,
              (Sequences{Tokens(text.begin(), text.begin() + std::min<int64_t>(length, 9))}));
    EXPECT_EQ(example.prompt_tokens, 0);
    EXPECT_EQ(example.tokens(), std::min<int64_t>(length, 9));
  }
}

// The rule of the header, over all small sizes: what is kept is a suffix of the prompt and a prefix
// of each response, nothing is cut that fits, and no sequence is too long.
TEST_F(ExamplesTest, PromptsLoseTheirBeginningAndResponsesTheirEnd) {
  const auto make = [](int first, int count) {
    Tokens tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  };
  for (int prompt = 1; prompt <= 9; ++prompt) {
    for (int chosen = 1; chosen <= 9; ++chosen) {
      for (const int64_t length : {2, 3, 4, 7, 8, 18}) {
        const TokenizedRow row{make(0, prompt), {make(100, chosen), make(200, 2)}};
        const Example example = MakeExample(row, length);
        const bool fits = prompt + std::max(chosen, 2) <= length;
        const int64_t kept = fits ? prompt : std::min<int64_t>(prompt, length / 2);
        ASSERT_EQ(example.prompt_tokens, kept);
        ASSERT_EQ(example.sequences.size(), 2u);
        for (size_t i = 0; i < 2; ++i) {
          const int64_t answer = std::min<int64_t>(std::ssize(row.responses[i]), length - kept);
          Tokens expected(row.input.end() - kept, row.input.end());
          expected.insert(expected.end(), row.responses[i].begin(),
                          row.responses[i].begin() + answer);
          EXPECT_EQ(example.sequences[i], expected) << prompt << " " << chosen << " " << length;
          EXPECT_GE(answer, 1);
        }
      }
    }
  }
}

TEST_F(ExamplesTest, WhatTheTokenizerAddsIsKept) {
  const FakeTokenizer tokenizer({"a", "b", "c"}, /*prefix=*/{7}, /*suffix=*/{8, 9});
  Row row;
  row.input = "abcab";
  TokenizedRow text = *TokenizeRow(tokenizer, Task::kCausalLm, 5, row);
  EXPECT_EQ(text.input, (Tokens{7, 0, 1, 2, 0, 1, 8, 9}));
  EXPECT_EQ(MakeExample(text, 8).sequences[0], text.input);
  EXPECT_EQ(MakeExample(text, 5).sequences[0], (Tokens{7, 0, 1, 8, 9}));
  EXPECT_EQ(MakeExample(text, 2).sequences[0], (Tokens{8, 9}));

  row.responses = {"ab", "c"};
  TokenizedRow choice = *TokenizeRow(tokenizer, Task::kChoice, 5, row);
  EXPECT_EQ(choice.input, (Tokens{7, 0, 1, 2, 0, 1}));
  EXPECT_EQ(choice.responses, (Sequences{{0, 1}, {2}}));
  Example example = MakeExample(choice, 6);
  EXPECT_EQ(example.prompt_tokens, 3);
  EXPECT_EQ(example.sequences, (Sequences{{7, 0, 1, 0, 1}, {7, 0, 1, 2}}));
  EXPECT_EQ(TokenizeRow(tokenizer, Task::kDpo, 5, row)->responses, (Sequences{{0, 1, 5}, {2, 5}}));

  row.input = "";
  EXPECT_EQ(FieldOf(CheckLengths(Task::kChoice, 1, *TokenizeRow(tokenizer, Task::kChoice, 5, row))),
            "prompt");
  row.responses = {};
  EXPECT_EQ(
      FieldOf(CheckLengths(Task::kCausalLm, 1, *TokenizeRow(tokenizer, Task::kCausalLm, 5, row))),
      "text");
}

}  // namespace
}  // namespace whipsnake::engine
