#include "engine/quantize/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {
namespace {

using testing::HasSubstr;

class CalibrationTest : public testing::Test {
 protected:
  CalibrationTest() {
    auto loaded = Tokenizer::Load("deploy/models/mamba-demo/tokenizer.json");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
  }

  absl::StatusOr<CalibrationSet> Make(const std::string& text, CalibrationOptions options = {}) {
    return MakeCalibrationSet(text, *tokenizer_, options);
  }
  std::string Refusal(const std::string& text) {
    return std::string(Make(text).status().message());
  }

  // Documents of more than 30 tokens, each beginning with its number.
  static std::string Documents(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&lines, "{\"text\": \"", i,
                      " It is a truth universally acknowledged, that a ",
                      "single man in possession of a good fortune, must be in want of a wife, ",
                      "however little known his feelings.\"}\n");
    }
    return lines;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(CalibrationTest, TheLastTenthIsHeldOut) {
  const auto set = Make(Documents(40));
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->samples.size(), 36u);
  EXPECT_EQ(set->held_out.size(), 4u);
  EXPECT_THAT(tokenizer_->Decode(set->held_out.front()), testing::StartsWith("36 It"));
}

TEST_F(CalibrationTest, DocumentsAreCutAndTheirNumberBounded) {
  const auto set = Make(Documents(60), {.max_samples = 20, .max_tokens = 16});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->samples.size() + set->held_out.size(), 20u);
  for (const auto& sample : set->samples) EXPECT_EQ(sample.size(), 16u);
  EXPECT_EQ(set->tokens(), 320);
}

TEST_F(CalibrationTest, PlainTextIsCutIntoSamples) {
  std::string text;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&text, "Sentence number ", i, " of a plain text. ");
  const auto set = Make(text, {.max_samples = 12, .max_tokens = 64});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->samples.size() + set->held_out.size(), 12u);
  for (const auto& sample : set->samples) EXPECT_EQ(sample.size(), 64u);
}

TEST_F(CalibrationTest, TheDigestTellsSetsApart) {
  const auto a = Make(Documents(20)), same = Make(Documents(20)), other = Make(Documents(21));
  EXPECT_EQ(a->digest, same->digest);
  EXPECT_NE(a->digest, other->digest);
}

TEST_F(CalibrationTest, WhatIsNoCalibrationIsNamed) {
  EXPECT_THAT(Refusal(""), HasSubstr("0 tokens seen, expected at least 256"));
  EXPECT_THAT(Refusal("too short"), HasSubstr("tokens seen"));
  EXPECT_THAT(Refusal(Documents(9)), HasSubstr("9 documents seen, expected at least 10"));
  EXPECT_THAT(Refusal(Documents(3) + "{\"txt\": 1}\n"), HasSubstr("line 4: text: nothing seen"));
  EXPECT_THAT(Refusal(Documents(2) + "{\"text\": \n"), HasSubstr("line 3: malformed JSON"));
}

}  // namespace
}  // namespace whipsnake::engine
