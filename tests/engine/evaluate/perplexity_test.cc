#include "engine/evaluate/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "engine/base/status.h"
#include "engine/generate/sampling.h"
#include "engine/models/logits.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kVocab = 7;

// The fake model's rule: after history h, the logit of v is a fixed function of a hash of h. A
// token that is lost, repeated or carried over from another window therefore changes all logits
// after it.
float Logit(uint64_t history, int64_t v) {
  return static_cast<float>((history >> (5 * v)) % 32) / 8.0f;
}
uint64_t Extend(uint64_t history, int32_t token) {
  return (history + token + 1) * 0x9e3779b97f4a7c15u;
}

class FakeState : public State {
 public:
  int64_t position() const override { return position_; }
  void Advance(int64_t) override {}
  int64_t bytes() const override { return sizeof(*this); }
  void AppendMemory(std::vector<MemoryPiece>&) const override {}
  absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t) const override {
    return std::make_unique<FakeState>(*this);
  }
  absl::Status Save(std::span<std::byte>) const override { return absl::OkStatus(); }

  void Take(int32_t token) {
    history_ = Extend(history_, token);
    ++position_;
  }
  uint64_t history() const { return history_; }

 private:
  uint64_t history_ = 0;
  int64_t position_ = 0;
};

class FakeModel : public Model {
 public:
  FakeModel() { info_.vocab_size = kVocab; }

  const ModelInfo& info() const override { return info_; }
  ModelInfo& mutable_info() { return info_; }
  int64_t most_rows() const { return most_rows_; }
  size_t most_runs() const { return most_runs_; }

  absl::StatusOr<std::unique_ptr<State>> NewState() override {
    return std::make_unique<FakeState>();
  }
  absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t,
                                                      std::span<const std::byte>) override {
    return absl::UnimplementedError("not needed here");
  }

  absl::StatusOr<kernels::MatrixView<const float>> Forward(std::span<const Run> runs) override {
    logits_.clear();
    std::set<State*> states;
    for (const Run& run : runs) {
      EXPECT_FALSE(run.tokens.empty());
      EXPECT_EQ(run.logits, LogitsOf::kAll);
      EXPECT_TRUE(states.insert(run.state).second) << "two runs share a state";
      auto& state = static_cast<FakeState&>(*run.state);
      for (const int32_t token : run.tokens) {
        state.Take(token);
        for (int64_t v = 0; v < kVocab; ++v) logits_.push_back(Logit(state.history(), v));
      }
    }
    const auto rows = static_cast<int64_t>(logits_.size()) / kVocab;
    most_rows_ = std::max(most_rows_, rows);
    most_runs_ = std::max(most_runs_, runs.size());
    if (rows == 0) return absl::InternalError("an empty batch");
    return kernels::MatrixView<const float>(logits_.data(), rows, kVocab);
  }

 private:
  ModelInfo info_;
  std::vector<float> logits_;
  int64_t most_rows_ = 0;
  size_t most_runs_ = 0;
};

std::vector<int32_t> RandomTokens(int64_t count) {
  std::mt19937 random(static_cast<unsigned>(count));
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kVocab);
  return tokens;
}

// Computes the loss by its definition, without parallel windows, chunks or log-sum-exp.
double ExpectedNll(const std::vector<int32_t>& tokens, int64_t window, int64_t* predicted) {
  double loss = 0;
  *predicted = 0;
  uint64_t history = 0;
  for (int64_t t = 0; t < static_cast<int64_t>(tokens.size()); ++t) {
    if (t % window == 0) {
      history = 0;
    } else {
      double total = 0;
      for (int64_t v = 0; v < kVocab; ++v) total += std::exp(Logit(history, v));
      loss -= std::log(std::exp(Logit(history, tokens[t])) / total);
      ++*predicted;
    }
    history = Extend(history, tokens[t]);
  }
  return loss / *predicted;
}

class PerplexityTest : public testing::Test {
 protected:
  FakeModel model_;
  Executor executor_{2};
};

// Lengths end exactly at the end of a window, one token past it (a window that predicts nothing)
// and inside it. Limits cut windows into single tokens, run several side by side, and hold
// everything.
TEST_F(PerplexityTest, IsTheMeanLossOfEachWindowHoweverItIsCut) {
  for (const int64_t length : {2, 5, 63, 64, 65, 257}) {
    const std::vector<int32_t> tokens = RandomTokens(length);
    for (const int64_t window : {2, 3, 16, 64, 1000}) {
      int64_t predicted = 0;
      const double nll = ExpectedNll(tokens, window, &predicted);
      for (const int64_t rows : {1, 5, 16, 40, 4096}) {
        SCOPED_TRACE(testing::Message()
                     << "length " << length << " window " << window << " rows " << rows);
        const PerplexityOptions options{.window = window,
                                        .max_logits_bytes = rows * kVocab * 4 + 3};
        const auto result = EvaluatePerplexity(model_, executor_, tokens, options);
        ASSERT_TRUE(result.ok()) << result.status();
        EXPECT_EQ(result->tokens, length);
        EXPECT_EQ(result->predicted, predicted);
        EXPECT_NEAR(result->nll, nll, 1e-6);
        EXPECT_NEAR(result->perplexity(), std::exp(nll), 1e-5);
      }
    }
  }
}

TEST_F(PerplexityTest, KeepsTheLogitsWithinTheirBound) {
  const std::vector<int32_t> tokens = RandomTokens(500);
  ASSERT_TRUE(EvaluatePerplexity(model_, executor_, tokens,
                                 {.window = 100, .max_logits_bytes = 30 * kVocab * 4})
                  .ok());
  EXPECT_EQ(model_.most_rows(), 30);
}

TEST_F(PerplexityTest, RunsShortWindowsSideBySide) {
  const std::vector<int32_t> tokens = RandomTokens(500);
  ASSERT_TRUE(EvaluatePerplexity(model_, executor_, tokens,
                                 {.window = 10, .max_logits_bytes = 100 * kVocab * 4})
                  .ok());
  EXPECT_EQ(model_.most_runs(), 11) << "each feeds all tokens but its last";
}

// The loss equals the mean of the logprobs that a response reports for the same tokens, negated.
// The vocabulary's padding has no probability in either.
TEST_F(PerplexityTest, IsTheMeanOfTheLogprobsThatAResponseHas) {
  constexpr int64_t kKnown = 5;
  std::vector<int32_t> tokens = RandomTokens(60);
  for (int32_t& token : tokens) token %= kKnown;
  double loss = 0;
  uint64_t history = Extend(0, tokens[0]);
  for (size_t t = 1; t < tokens.size(); ++t) {
    std::vector<float> logits;
    for (int64_t v = 0; v < kVocab; ++v) logits.push_back(Logit(history, v));
    Sampler sampler({.temperature = 0}, kKnown, {});
    const auto all = sampler.Sample(logits, kKnown, {});
    ASSERT_TRUE(all.ok()) << all.status();
    double sum = 0;
    for (const TokenLogprob& token : all->top) {
      sum += std::exp(token.logprob);
      if (token.id == tokens[t]) loss -= token.logprob;
    }
    EXPECT_NEAR(sum, 1, 1e-5);
    history = Extend(history, tokens[t]);
  }
  const PerplexityOptions options{.window = 60, .known_tokens = kKnown};
  const auto result = EvaluatePerplexity(model_, executor_, tokens, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->nll, loss / 59, 1e-6);
  EXPECT_EQ(KnownTokens(model_.info(), kKnown), kKnown);
  EXPECT_EQ(KnownTokens(model_.info(), kVocab + 1), kVocab);
  tokens.back() = kKnown;
  EXPECT_EQ(FieldOf(EvaluatePerplexity(model_, executor_, tokens, options).status()), "text");
}

TEST(LogNormalizer, IsOfWhatIsFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::nanf("");
  std::vector<float> scratch;
  EXPECT_EQ(LogNormalizer({}, scratch), -kInfinity);
  EXPECT_EQ(LogNormalizer(std::vector<float>{nan, -kInfinity, kInfinity}, scratch), -kInfinity);
  EXPECT_NEAR(LogNormalizer(std::vector<float>{1, nan, 1, -kInfinity}, scratch), 1 + std::log(2),
              1e-6);
  std::vector<float> many(50001, 700.0f);
  EXPECT_NEAR(LogNormalizer(many, scratch), 700 + std::log(50001.0), 1e-5);
  many[40000] = 3e38f;
  EXPECT_EQ(LogNormalizer(many, scratch), 3e38f);
}

// A model whose logits are all equal and far beyond the range of exp.
class LoudModel : public FakeModel {
 public:
  absl::StatusOr<kernels::MatrixView<const float>> Forward(std::span<const Run> runs) override {
    EXPECT_EQ(runs.size(), 1u);
    logits_.assign(kVocab * runs[0].tokens.size(), 1000.0f);
    return kernels::MatrixView<const float>(logits_.data(),
                                            static_cast<int64_t>(runs[0].tokens.size()), kVocab);
  }

 private:
  std::vector<float> logits_;
};

TEST_F(PerplexityTest, SurvivesLogitsThatOverflowExp) {
  LoudModel model;
  const auto result =
      EvaluatePerplexity(model, executor_, RandomTokens(9), PerplexityOptions{.window = 9});
  ASSERT_TRUE(result.ok());
  EXPECT_NEAR(result->perplexity(), kVocab, 1e-6);
}

TEST_F(PerplexityTest, ProgressRisesToOne) {
  std::vector<double> seen;
  ASSERT_TRUE(EvaluatePerplexity(model_, executor_, RandomTokens(333),
                                 {.window = 20, .max_logits_bytes = 50 * kVocab * 4},
                                 [&](double fraction) { seen.push_back(fraction); })
                  .ok());
  ASSERT_GT(seen.size(), 3u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_GT(seen.front(), 0);
  EXPECT_EQ(seen.back(), 1);
}

TEST_F(PerplexityTest, RefusesWhatCannotBeEvaluated) {
  model_.mutable_info().max_positions = 32;
  const std::vector<int32_t> tokens = RandomTokens(40);
  const auto field = [&](std::vector<int32_t> ids, int64_t window) {
    return FieldOf(EvaluatePerplexity(model_, executor_, ids, {.window = window}).status());
  };
  EXPECT_EQ(field(tokens, 1), "window");
  EXPECT_EQ(field(tokens, -5), "window");
  EXPECT_EQ(field(tokens, 33), "window");
  EXPECT_EQ(field({3}, 32), "text");
  EXPECT_EQ(field({}, 32), "text");
  EXPECT_EQ(field({1, kVocab}, 32), "text");
  EXPECT_EQ(field({1, -1}, 32), "text");
  model_.mutable_info().labels = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(
      EvaluatePerplexity(model_, executor_, tokens, {.window = 32}).status()));
  EXPECT_EQ(model_.most_runs(), 0u) << "something ran";
}

TEST(DefaultWindow, IsTheModelsMaximumWhereThatIsSmaller) {
  ModelInfo info;
  EXPECT_EQ(DefaultWindow(info), 2048);
  info.max_positions = 1024;
  EXPECT_EQ(DefaultWindow(info), 1024);
  info.max_positions = 4096;
  EXPECT_EQ(DefaultWindow(info), 2048);
}

}  // namespace
}  // namespace whipsnake::engine
