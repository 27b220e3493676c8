// A quantized Mamba computes the same bits however a sequence is cut into runs and whatever shares
// its batch, with states of every type: integer sums do not depend on their order, each row of the
// rest is computed on its own, and a state is rounded after every token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/evaluate/perplexity.h"
#include "engine/models/model.h"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using Logits = std::vector<float>;

constexpr DType kStateTypes[] = {DType::kF32, DType::kBF16, DType::kI8};

class QuantizedMambaTest : public testing::TestWithParam<Scheme> {
 protected:
  std::unique_ptr<Model> Load(ModelOptions options = {}) {
    if (directory_.empty()) {
      directory_ = FreshDirectory("quantized");
      const auto report = QuantizeModel(RandomModel(SmallConfig(96)), SmallCalibration(),
                                        {RecipeOf(GetParam()), AnyPercentile(RecipeOf(GetParam()))},
                                        directory_, {&executor_, &ledger_}, Silent);
      EXPECT_TRUE(report.ok()) << report.status();
    }
    auto model = LoadModel(directory_, options, {&executor_, &ledger_});
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

  static Logits Forward(Model& model, std::span<const int32_t> tokens, State& state) {
    const engine::Run run{tokens, &state, LogitsOf::kAll};
    const auto result = model.Forward({&run, 1});
    EXPECT_TRUE(result.ok()) << result.status();
    return {result->data, result->data + result->rows * result->cols};
  }

  static Logits InPieces(Model& model, std::span<const int32_t> tokens, int64_t piece) {
    auto state = model.NewState();
    Logits logits;
    while (!tokens.empty()) {
      const auto part = tokens.first(std::min<size_t>(piece, tokens.size()));
      const Logits more = Forward(model, part, **state);
      logits.insert(logits.end(), more.begin(), more.end());
      tokens = tokens.subspan(part.size());
    }
    return logits;
  }

  static double SnrDb(const Logits& expected, const Logits& seen) {
    double signal = 0, noise = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      signal += double{expected[i]} * expected[i];
      noise += std::pow(double{seen[i]} - expected[i], 2);
    }
    return 10 * std::log10(signal / noise);
  }

  Ledger ledger_;
  Executor executor_{2};
  std::string directory_;
};

INSTANTIATE_TEST_SUITE_P(Schemes, QuantizedMambaTest,
                         testing::Values(Scheme::kQuamba, Scheme::kSmoothQuant),
                         [](const auto& test) {
                           return test.param == Scheme::kQuamba ? "Quamba" : "SmoothQuant";
                         });

TEST_P(QuantizedMambaTest, AnySplitIsBitIdentical) {
  for (const DType type : kStateTypes) {
    const auto model = Load({.state_type = type});
    for (const int64_t length : {1, 2, 3, 4, 5, 17, 300, 2049}) {
      if (type != DType::kF32 && length > 300) continue;  // too slow for every type
      const std::vector<int32_t> tokens = RandomTokens(length, 300, length);
      const Logits whole = InPieces(*model, tokens, length);
      for (const int64_t piece : {1, 3, 32, 256, 2048}) {
        if (piece >= length) continue;
        EXPECT_EQ(InPieces(*model, tokens, piece), whole)
            << Name(type) << " " << length << " " << piece;
      }
    }
  }
}

// Cuts a prompt in two at every position.
TEST_P(QuantizedMambaTest, AnyCutIsBitIdentical) {
  const std::vector<int32_t> tokens = RandomTokens(40, 300, 7);
  for (const DType type : kStateTypes) {
    const auto model = Load({.state_type = type});
    const Logits whole = InPieces(*model, tokens, 40);
    for (size_t cut = 1; cut < tokens.size(); ++cut) {
      auto state = *model->NewState();
      Logits logits = Forward(*model, std::span(tokens).first(cut), *state);
      const Logits rest = Forward(*model, std::span(tokens).subspan(cut), *state);
      logits.insert(logits.end(), rest.begin(), rest.end());
      EXPECT_EQ(logits, whole) << Name(type) << " cut at " << cut;
    }
  }
}

// Evaluation therefore measures exactly what is served.
TEST_P(QuantizedMambaTest, EvaluatesTheSameTokenByTokenAndInWholeWindows) {
  const std::vector<int32_t> tokens = RandomTokens(300, 300, 8);
  std::vector<double> losses;
  for (const DType type : kStateTypes) {
    const auto model = Load({.state_type = type});
    const auto evaluate = [&](int64_t max_logits_bytes) {
      return EvaluatePerplexity(*model, executor_, tokens,
                                {.window = 100, .max_logits_bytes = max_logits_bytes})
          ->nll;
    };
    const double whole = evaluate(int64_t{64} << 20);
    // The losses are equal bit for bit, but they are summed in a different order.
    EXPECT_NEAR(evaluate(1), whole, 1e-12 * whole) << Name(type);
    losses.push_back(whole);
  }
  EXPECT_NE(losses[1], losses[0]) << "bf16 states are not rounded";
  EXPECT_NE(losses[2], losses[0]) << "int8 states are not rounded";
}

TEST_P(QuantizedMambaTest, ABatchIsBitIdenticalToEachAlone) {
  for (const DType type : kStateTypes) {
    const auto model = Load({.state_type = type});
    std::vector<std::vector<int32_t>> prompts;
    std::vector<std::unique_ptr<State>> states;
    std::vector<Logits> alone;
    for (const int64_t length : {5, 1, 40, 2, 1, 33}) {
      prompts.push_back(RandomTokens(length, 300, 10 + length));
      auto state = model->NewState();
      alone.push_back(Forward(*model, prompts.back(), **state));
      states.push_back(*model->NewState());
    }
    std::vector<engine::Run> runs;
    for (size_t i = 0; i < prompts.size(); ++i) {
      runs.push_back({prompts[i], states[i].get(), LogitsOf::kAll});
    }
    const auto batch = model->Forward(runs);
    ASSERT_TRUE(batch.ok()) << batch.status();
    const float* row = batch->data;
    for (const Logits& expected : alone) {
      EXPECT_EQ(Logits(row, row + expected.size()), expected) << Name(type);
      row += expected.size();
    }
  }
}

TEST_P(QuantizedMambaTest, SmallerStatesStayNear) {
  const std::vector<int32_t> tokens = RandomTokens(600, 300, 5);
  const auto exact = Load();
  const Logits expected = InPieces(*exact, tokens, 1);
  int64_t bytes = exact->info().state_bytes;
  double snr = HUGE_VAL;
  for (const DType type : {DType::kBF16, DType::kI8}) {
    const auto model = Load({.state_type = type});
    EXPECT_LT(model->info().state_bytes, bytes);
    bytes = model->info().state_bytes;
    const double seen = SnrDb(expected, InPieces(*model, tokens, 1));
    EXPECT_LT(seen, snr);
    EXPECT_GT(seen, type == DType::kBF16 ? 25 : 10);
    snr = seen;
  }
}

TEST_P(QuantizedMambaTest, AClonedStateGoesOnByItself) {
  const auto model = Load();
  auto state = *model->NewState();
  Forward(*model, RandomTokens(20, 300, 1), *state);
  auto copy = state->Clone();
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ((*copy)->position(), 20);
  const std::vector<int32_t> next = RandomTokens(3, 300, 2);
  EXPECT_EQ(Forward(*model, next, *state), Forward(*model, next, **copy));
}

}  // namespace
}  // namespace whipsnake::engine
