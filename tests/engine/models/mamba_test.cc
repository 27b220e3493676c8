// Compares Mamba's logits with those of transformers (tests/oracles/mamba_goldens.py), and checks
// that logits depend neither on how a sequence is cut into runs nor on the rest of the batch.
#include "engine/models/mamba/mamba.h"

#include "tests/engine/models/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr const char* kGoldens = "tests/goldens/mamba/";
constexpr const char* kDemo = "deploy/models/mamba-demo";

class MambaGoldenTest : public ModelFixture, public ::testing::WithParamInterface<const char*> {
 protected:
  std::string directory() const { return std::string(kGoldens) + GetParam(); }
};

TEST_P(MambaGoldenTest, LogitsEqualTransformers) {
  const auto model = Load(directory());
  ASSERT_NE(model, nullptr);
  for (const GoldenSequence& golden : ReadGoldens(directory())) {
    ExpectGolden(golden, ForwardWhole(*model, golden.tokens), 2e-4);
  }
}

TEST_P(MambaGoldenTest, AnySplitGivesTheSameLogits) {
  const auto model = Load(directory());
  ASSERT_NE(model, nullptr);
  std::mt19937 random(11);
  for (const int64_t length : {1, 2, 3, 4, 5, 17, 64}) {
    const std::vector<int32_t> tokens = RandomTokens(*model, length);
    const Logits whole = ForwardWhole(*model, tokens);
    const Logits steps = ForwardInPieces(*model, tokens, std::vector<int64_t>(length, 1));
    EXPECT_LE(Difference(whole, steps), 1e-5);
    // Products of up to 16 rows always sum in the same order, as does the rest of the model.
    if (length <= 16) {
      EXPECT_EQ(whole, steps);
    }
    for (int round = 0; round < 5; ++round) {
      std::vector<int64_t> pieces;
      for (int64_t left = length; left > 0; left -= pieces.back())
        pieces.push_back(1 + random() % left);
      EXPECT_LE(Difference(whole, ForwardInPieces(*model, tokens, pieces)), 1e-5);
    }
  }
}

TEST_P(MambaGoldenTest, ABatchOfUnequalRunsGivesTheSameLogitsAsEachAlone) {
  const auto model = Load(directory());
  ASSERT_NE(model, nullptr);
  const std::vector<int64_t> lengths = {5, 1, 33, 2, 1, 8};
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::unique_ptr<State>> states;
  std::vector<Run> runs;
  Logits alone;
  for (size_t i = 0; i < lengths.size(); ++i) {
    tokens.push_back(RandomTokens(*model, lengths[i], i));
    states.push_back(NewState(*model));
    const Logits logits = ForwardWhole(*model, tokens.back());
    const LogitsOf wanted = i == 1       ? LogitsOf::kNone
                            : i % 2 == 0 ? LogitsOf::kAll
                                         : LogitsOf::kLast;
    if (wanted == LogitsOf::kAll) alone.insert(alone.end(), logits.begin(), logits.end());
    if (wanted == LogitsOf::kLast) alone.push_back(logits.back());
    runs.push_back({tokens.back(), states.back().get(), wanted});
  }
  EXPECT_LE(Difference(alone, Forward(*model, runs)), 1e-5);
  for (size_t i = 0; i < lengths.size(); ++i) EXPECT_EQ(states[i]->position(), lengths[i]);

  // States computed in the batch continue as if each had been computed alone.
  const int32_t next = 1;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const Logits batched = Forward(*model, {{{&next, 1}, states[i].get(), LogitsOf::kLast}});
    std::vector<int32_t> longer = tokens[i];
    longer.push_back(next);
    EXPECT_LE(Difference({ForwardWhole(*model, longer).back()}, batched), 1e-5);
  }
}

TEST_P(MambaGoldenTest, Bf16StaysNearFp32) {
  const auto exact = Load(directory());
  const auto rounded = Load(directory(), Scheme::kBf16);
  ASSERT_TRUE(exact != nullptr && rounded != nullptr);
  EXPECT_LT(rounded->info().weights_bytes, exact->info().weights_bytes);
  const std::vector<int32_t> tokens = RandomTokens(*exact, 64);
  const Logits a = ForwardWhole(*exact, tokens), b = ForwardWhole(*rounded, tokens);
  double error = 0, signal = 0;
  for (size_t r = 0; r < a.size(); ++r) {
    for (size_t c = 0; c < a[r].size(); ++c) {
      error += (a[r][c] - b[r][c]) * (a[r][c] - b[r][c]);
      signal += a[r][c] * a[r][c];
    }
  }
  EXPECT_LT(error, 1e-3 * signal);
  EXPECT_GT(error, 0);  // the arithmetic differs
  EXPECT_LE(Difference(b, ForwardInPieces(*rounded, tokens, std::vector<int64_t>(64, 1))), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Goldens, MambaGoldenTest,
                         ::testing::Values("hf_tied", "hf_untied", "original", "original_ssm_cfg",
                                           "odd_sizes", "conv3_bias", "no_conv_bias", "bf16", "f16",
                                           "sharded"),
                         [](const auto& test) { return test.param; });

class MambaTest : public ModelFixture {};

TEST_F(MambaTest, AForkGoesItsOwnWay) {
  const auto model = Load(std::string(kGoldens) + "hf_tied");
  const std::vector<int32_t> prompt = {1, 2, 3}, left = {4, 5}, right = {6, 7};
  auto state = NewState(*model);
  Forward(*model, {{prompt, state.get(), LogitsOf::kLast}});
  auto fork = state->Clone();
  ASSERT_TRUE(fork.ok());
  EXPECT_EQ((*fork)->position(), 3);
  const Logits a = Forward(*model, {{left, state.get(), LogitsOf::kLast}});
  const Logits b = Forward(*model, {{right, fork->get(), LogitsOf::kLast}});
  EXPECT_LE(Difference(a, {ForwardWhole(*model, std::vector<int32_t>{1, 2, 3, 4, 5}).back()}),
            1e-5);
  EXPECT_LE(Difference(b, {ForwardWhole(*model, std::vector<int32_t>{1, 2, 3, 6, 7}).back()}),
            1e-5);
}

TEST_F(MambaTest, BadRunsChangeNothing) {
  const auto model = Load(std::string(kGoldens) + "hf_tied");
  auto state = NewState(*model);
  const int32_t good = 1, low = -1, high = static_cast<int32_t>(model->info().vocab_size);
  for (const Run& bad : {Run{{}, state.get()}, Run{{&low, 1}, state.get()},
                         Run{{&high, 1}, state.get()}, Run{{&good, 1}, nullptr}}) {
    auto other = NewState(*model);
    const Run runs[] = {{{&good, 1}, other.get()}, bad};
    EXPECT_EQ(model->Forward(runs).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(other->position(), 0);
  }
}

TEST_F(MambaTest, WeightsThatADecodeStepReadsLeaveOutAnUntiedEmbedding) {
  const auto bytes = [](const Model& model) {
    int64_t sum = 0;
    for (const auto& span : DecodeWeights(model)) sum += span.size();
    return sum;
  };
  const auto tied = Load(std::string(kGoldens) + "hf_tied");
  EXPECT_EQ(bytes(*tied), tied->info().weights_bytes);
  const auto untied = Load(std::string(kGoldens) + "hf_untied");
  const nlohmann::json config =
      nlohmann::json::parse(std::ifstream(std::string(kGoldens) + "hf_untied/config.json"));
  const int64_t embedding =
      config["vocab_size"].get<int64_t>() * config["hidden_size"].get<int64_t>() * 4;
  EXPECT_EQ(bytes(*untied), untied->info().weights_bytes - embedding);
}

TEST_F(MambaTest, AModelThatDoesNotFitIsRefusedBeforeAnythingIsHeld) {
  Ledger small(100000);
  const auto refused = LoadModel(std::string(kGoldens) + "hf_tied", {}, {&executor_, &small});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("hf_tied"));
  EXPECT_EQ(small.peak(), 0);
}

TEST_F(MambaTest, WhatIsMissingOrMisshapenIsNamed) {
  const fs::path directory = fs::path(::testing::TempDir()) / "misshapen_mamba";
  fs::remove_all(directory);
  fs::copy(std::string(kGoldens) + "hf_tied", directory);
  const auto refusal = [&](auto change) {
    nlohmann::json config =
        nlohmann::json::parse(std::ifstream(std::string(kGoldens) + "hf_tied/config.json"));
    change(config);
    std::ofstream(directory / "config.json") << config;
    return std::string(LoadModel(directory, {}, {&executor_, &ledger_}).status().message());
  };
  EXPECT_THAT(refusal([](auto& c) { c["state_size"] = 17; }), HasSubstr("x_proj.weight"));
  EXPECT_THAT(refusal([](auto& c) { c["num_hidden_layers"] = 90; }), HasSubstr("backbone.layers."));
  EXPECT_THAT(refusal([](auto& c) { c["tie_word_embeddings"] = false; }),
              HasSubstr("lm_head.weight"));
  EXPECT_THAT(refusal([](auto& c) { c["model_type"] = "llama"; }), HasSubstr("llama"));
  EXPECT_EQ(ledger_.peak(), 0);
  fs::remove_all(directory);
}

// Greedy continuations of the demo model must equal those of an independent fp32 implementation.
TEST_F(MambaTest, TheDemoModelContinuesItsReferencePrompts) {
  const auto model = Load(kDemo);
  ASSERT_NE(model, nullptr);
  ExpectReferenceContinuations(*model, kDemo);
}

}  // namespace
}  // namespace whipsnake::engine
