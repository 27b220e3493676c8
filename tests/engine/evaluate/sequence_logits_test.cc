#include "engine/evaluate/sequence_logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/evaluate/token_losses.h"
#include "tests/engine/base/support.h"
#include "tests/engine/fakes/fake_model.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kTokens = 5;

// The logits after a history: a function of all of its tokens.
std::vector<float> LogitsAfter(std::span<const int32_t> history) {
  uint64_t hash = 1;
  for (const int32_t token : history) hash = (hash + token + 1) * 0x9e3779b97f4a7c15u;
  std::vector<float> logits;
  for (int64_t v = 0; v < kTokens; ++v) {
    logits.push_back(static_cast<float>((hash >> (8 * v)) % 64) / 8.0f);
  }
  return logits;
}

std::vector<std::vector<int32_t>> SequencesOf(const std::vector<int64_t>& lengths) {
  std::mt19937 random(1);
  std::vector<std::vector<int32_t>> sequences;
  for (const int64_t length : lengths) {
    std::vector<int32_t>& sequence = sequences.emplace_back(length);
    for (int32_t& token : sequence) token = static_cast<int32_t>(random() % kTokens);
  }
  return sequences;
}

class SequenceLogitsTest : public ::testing::Test {
 protected:
  SequenceLogitsTest() {
    model_.logits = LogitsAfter;
    model_.before_forward = [this](std::span<const engine::Run> runs) {
      int64_t tokens = 0;
      for (const engine::Run& run : runs) tokens += std::ssize(run.tokens);
      passes_.push_back(tokens);
    };
  }

  // Expects each wanted row once, in order, and passes within the limit.
  void ExpectWantedRows(const std::vector<FedSequence>& sequences, int64_t rows) {
    std::map<int64_t, int64_t> next;  // the position wanted next, by sequence
    passes_.clear();
    const auto receive = [&](kernels::MatrixView<const float> logits,
                             std::span<const LogitsPlace> places) {
      EXPECT_EQ(logits.rows, std::ssize(places));
      EXPECT_FALSE(places.empty());
      for (int64_t r = 0; r < std::ssize(places); ++r) {
        const auto& [index, position] = places[r];
        const FedSequence& sequence = sequences[index];
        EXPECT_EQ(position, next.try_emplace(index, sequence.first_wanted).first->second++);
        const std::vector<float> want = LogitsAfter(sequence.tokens.first(position + 1));
        EXPECT_EQ(std::vector<float>(logits.row(r), logits.row(r) + kTokens), want);
      }
      return absl::OkStatus();
    };
    ASSERT_THAT(ComputeLogits(model_, sequences, rows * kTokens * 4, receive), IsOk());
    for (int64_t i = 0; i < std::ssize(sequences); ++i) {
      EXPECT_EQ(next[i], std::ssize(sequences[i].tokens)) << "sequence " << i;
    }
    for (const int64_t tokens : passes_) EXPECT_LE(tokens, rows);
    EXPECT_EQ(model_.live_states(), 0);
  }

  FakeModel model_{kTokens};
  std::vector<int64_t> passes_;  // the tokens of each
};

TEST_F(SequenceLogitsTest, AreThoseOfTheWantedRowsHoweverTheyAreCut) {
  const auto tokens = SequencesOf({1, 2, 7, 16, 31, 5, 48});
  for (const int64_t first : {0, 1, 3, 100}) {
    std::vector<FedSequence> sequences;
    for (const auto& sequence : tokens) {
      sequences.push_back({sequence, std::min(first, std::ssize(sequence) - 1)});
    }
    for (const int64_t rows : {1, 2, 7, 16, 40, 1000}) {
      SCOPED_TRACE(testing::Message() << "first " << first << " rows " << rows);
      ExpectWantedRows(sequences, rows);
    }
  }
  ExpectWantedRows({}, 5);
}

TEST_F(SequenceLogitsTest, ShortSequencesShareAPass) {
  const auto tokens = SequencesOf({4, 4, 4, 4, 4});
  std::vector<FedSequence> sequences;
  for (const auto& sequence : tokens) sequences.push_back({sequence, 3});
  ExpectWantedRows(sequences, 8);
  EXPECT_THAT(passes_, testing::ElementsAre(8, 8, 4));
}

TEST_F(SequenceLogitsTest, ErrorsEndTheComputation) {
  const std::vector<int32_t> tokens(10, 1);
  const std::vector<FedSequence> sequences = {{tokens, 0}};
  const auto fail = [](auto, auto) { return absl::CancelledError("enough"); };
  EXPECT_THAT(ComputeLogits(model_, sequences, 1, fail), Fails(absl::StatusCode::kCancelled, ""));
  EXPECT_EQ(passes_.size(), 1u);
  model_.error = absl::DataLossError("changed");
  EXPECT_THAT(ComputeLogits(model_, sequences, 1, fail), Fails(absl::StatusCode::kDataLoss, ""));
  model_.max_states = 0;
  EXPECT_THAT(ComputeLogits(model_, sequences, 1, fail),
              Fails(absl::StatusCode::kResourceExhausted, ""));
}

class TokenLossesTest : public SequenceLogitsTest {
 protected:
  // The definition: -Σ ln p, with p a softmax over the known tokens.
  static double ExpectedSum(const PredictedSequence& sequence, int64_t known) {
    double sum = 0;
    for (int64_t i = sequence.first_predicted; i < std::ssize(sequence.tokens); ++i) {
      const std::vector<float> logits = LogitsAfter(sequence.tokens.first(i));
      double total = 0;
      for (int64_t v = 0; v < known; ++v) total += std::exp(logits[v]);
      sum -= std::log(std::exp(logits[sequence.tokens[i]]) / total);
    }
    return sum;
  }

  Executor executor_{2};
};

TEST_F(TokenLossesTest, AreThoseOfThePredictedTokens) {
  constexpr int64_t kKnown = 4;
  auto tokens = SequencesOf({1, 2, 9, 30});
  for (auto& sequence : tokens) {
    for (int32_t& token : sequence) token %= kKnown;
  }
  std::vector<PredictedSequence> sequences;
  for (const int64_t first : {1, 2, 8, 9}) {
    for (const auto& sequence : tokens) sequences.push_back({sequence, first});
  }
  for (const int64_t rows : {1, 8, 500}) {
    int64_t predicted = 0;
    const auto sums =
        SumTokenLosses(model_, executor_, sequences,
                       {.known_tokens = kKnown, .max_logits_bytes = rows * kTokens * 4},
                       [&](int64_t count) { predicted += count; });
    ASSERT_THAT(sums, IsOk());
    ASSERT_EQ(sums->size(), sequences.size());
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_NEAR((*sums)[i], ExpectedSum(sequences[i], kKnown), 1e-4) << i;
    }
    EXPECT_EQ(predicted, (1 + 8 + 29) + (7 + 28) + (1 + 22) + 21);
  }
}

TEST_F(TokenLossesTest, RefusesUnknownTokensBeforeAnythingRuns) {
  const std::vector<int32_t> good = {0, 1}, bad = {0, 4}, negative = {-1, 0};
  for (const auto& tokens : {bad, negative}) {
    EXPECT_THAT(SumTokenLosses(model_, executor_, std::vector<PredictedSequence>{{good}, {tokens}},
                               {.known_tokens = 4}),
                Fails(absl::StatusCode::kInvalidArgument, "text: token"));
  }
  EXPECT_TRUE(passes_.empty());
}

TEST_F(TokenLossesTest, ReportsLogitsThatAreNotFinite) {
  const std::vector<int32_t> tokens = {0, 1, 2};
  model_.logits = [](auto) { return std::vector<float>(kTokens, std::nanf("")); };
  EXPECT_THAT(SumTokenLosses(model_, executor_, std::vector<PredictedSequence>{{tokens}},
                             {.known_tokens = kTokens}),
              Fails(absl::StatusCode::kInternal, "not finite"));
}

}  // namespace
}  // namespace whipsnake::engine
