// Generation with a constraint on the output.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/generate/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(GeneratorTest, AConstrainedOutputEndsWhenItIsComplete) {
  const auto vocabulary = std::make_shared<VocabularyTrie>(tokenizer_, 8);
  const auto compile = [&](const std::string& regex) {
    return *Constraint::Compile({ConstraintSpec::Kind::kRegex, {regex}}, vocabulary);
  };
  model_.logits = [](std::span<const int32_t>) { return std::vector<float>(8, 0.0f); };
  Start();
  for (uint64_t seed = 0; seed < 50; ++seed) {
    GenerationRequest request = Request({0}, 6);
    request.sampling = {.temperature = 1, .seed = seed};
    request.constraint = compile("(ab|dd)+g");
    Collector collector;
    Submit(collector, request);
    EXPECT_EQ(collector.reason(), FinishReason::kEos);
    EXPECT_TRUE(collector.text().ends_with("g")) << collector.text();
    EXPECT_EQ(collector.text().size() % 2, 1) << collector.text();
    EXPECT_LE(collector.ids().size(), 6) << "the budget, of which one is for the g";
  }
  // The end-of-sequence token is allowed only where the output may end.
  GenerationRequest request = Request({0}, 6);
  request.eos_token_ids = {7};
  model_.logits = [](std::span<const int32_t>) {
    return std::vector<float>{0, 0, 0, 0, 0, 0, 0, 5};
  };
  request.constraint = compile("a{3}b*");
  Collector collector;
  Submit(collector, request);
  EXPECT_EQ(collector.reason(), FinishReason::kEos);
  EXPECT_THAT(collector.ids(), ElementsAre(0, 0, 0, 7));
  EXPECT_EQ(collector.text(), "aaa");
}

// Tokens have twelve letters a and b, so the automaton of a constraint that depends on hundreds of
// earlier letters is in a new state after each token.
class CostlyConstraintTest : public GeneratorTest {
 protected:
  CostlyConstraintTest() {
    tokenizer_ = FakeTokenizer(Pieces());
    model_.mutable_info().vocab_size = tokenizer_.size();
    model_.logits = [this](std::span<const int32_t>) {
      return std::vector<float>(tokenizer_.size(), 0.0f);
    };
    Start();
  }

  static std::vector<std::string> Pieces() {
    std::vector<std::string> pieces = {"a", "b"};
    for (int bits = 0; bits < 4096; ++bits) {
      std::string& piece = pieces.emplace_back();
      for (int i = 0; i < 12; ++i) piece += (bits >> i & 1) != 0 ? 'a' : 'b';
    }
    return pieces;
  }

  GenerationRequest CostlyRequest(const ConstraintLimits& limits) {
    const auto vocabulary = std::make_shared<VocabularyTrie>(tokenizer_, tokenizer_.size());
    GenerationRequest request = Request({0}, 1'000'000);
    request.sampling.temperature = 1;
    auto constraint = Constraint::Compile({ConstraintSpec::Kind::kRegex, {"[ab]*a[ab]{500}"}},
                                          vocabulary, limits);
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    request.constraint = *std::move(constraint);
    return request;
  }
};

TEST_F(CostlyConstraintTest, OtherSequencesRunDuringASearch) {
  Collector costly, other, late;
  Submit(costly, CostlyRequest({.slice_work = 1000}));
  Submit(other, Request({0}, 200));
  EXPECT_EQ(other.reason(), FinishReason::kLength);
  EXPECT_EQ(other.ids().size(), 200u);
  costly.stream().Cancel();
  EXPECT_EQ(costly.reason(), FinishReason::kCancelled);
  GenerationRequest request = CostlyRequest({.slice_work = 1000});
  request.deadline = Clock::now() + std::chrono::milliseconds(30);
  Submit(late, request);
  EXPECT_EQ(late.reason(), FinishReason::kDeadline);
}

TEST_F(CostlyConstraintTest, OnlyTheTooCostlyRequestFails) {
  Collector costly, other;
  // It compiles, because its first states are cheap, and fails some tokens later.
  Submit(costly, CostlyRequest({.max_bytes = int64_t{8} << 20}));
  Submit(other, Request({0}, 200));
  EXPECT_TRUE(absl::IsResourceExhausted(costly.Wait().status)) << costly.Wait().status;
  EXPECT_THAT(costly.Wait().status.message(), HasSubstr("regex: needs more than 8388608 bytes"));
  EXPECT_EQ(other.reason(), FinishReason::kLength);
}

TEST_F(CostlyConstraintTest, ShutdownDoesNotWaitForASearch) {
  Collector costly;
  Submit(costly, CostlyRequest({.slice_work = 1000}));
  generator_.reset();
  EXPECT_TRUE(absl::IsUnavailable(costly.Wait().status)) << costly.Wait().status;
}

}  // namespace
}  // namespace whipsnake::engine
