// Mamba against transformers' logits (tests/oracles/mamba_goldens.py), and its own invariants:
// however a sequence is cut into runs and whoever shares the batch, the logits are the same.
#include "engine/models/mamba.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/files.h"
#include "engine/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Logits = std::vector<std::vector<float>>;  // a row per position

constexpr const char* kGoldens = "tests/goldens/mamba/";
constexpr const char* kDemo = "deploy/models/mamba-demo";

class ModelFixture : public ::testing::Test {
 protected:
  using Run = engine::Run;  // not testing::Test::Run

  std::unique_ptr<Model> Load(const std::string& directory, Scheme scheme = Scheme::kFp32) {
    auto model = LoadModel(directory, {.scheme = scheme}, {&executor_, &ledger_});
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }

  static std::unique_ptr<State> NewState(Model& model) {
    auto state = model.NewState();
    EXPECT_TRUE(state.ok()) << state.status();
    return *std::move(state);
  }

  static Logits Forward(Model& model, const std::vector<Run>& runs) {
    const auto result = model.Forward(runs);
    EXPECT_TRUE(result.ok()) << result.status();
    Logits logits;
    for (int64_t r = 0; r < result->rows; ++r)
      logits.emplace_back(result->row(r), result->row(r) + result->cols);
    return logits;
  }

  // All positions' logits of one sequence, cut into runs of the given lengths.
  static Logits ForwardInPieces(Model& model, std::span<const int32_t> tokens,
                                const std::vector<int64_t>& lengths) {
    auto state = NewState(model);
    Logits logits;
    for (const int64_t length : lengths) {
      const Logits piece = Forward(model, {{tokens.first(length), state.get(), LogitsOf::kAll}});
      logits.insert(logits.end(), piece.begin(), piece.end());
      tokens = tokens.subspan(length);
    }
    EXPECT_TRUE(tokens.empty());
    return logits;
  }

  static Logits ForwardWhole(Model& model, std::span<const int32_t> tokens) {
    return ForwardInPieces(model, tokens, {static_cast<int64_t>(tokens.size())});
  }

  static std::vector<int32_t> RandomTokens(const Model& model, int64_t count, uint32_t seed = 1) {
    std::mt19937 random(seed);
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % model.info().vocab_size);
    return tokens;
  }

  // The largest difference in any row, relative to the row's largest logit: sums of another order
  // differ by so much in every logit, small or large.
  static double Difference(const Logits& a, const Logits& b) {
    EXPECT_EQ(a.size(), b.size());
    double worst = 0;
    for (size_t r = 0; r < a.size(); ++r) {
      double scale = 1, difference = 0;
      for (size_t c = 0; c < a[r].size(); ++c) {
        scale = std::max<double>(scale, std::abs(a[r][c]));
        const double d = std::abs(a[r][c] - b[r][c]);
        difference = std::isnan(d) ? HUGE_VAL : std::max(difference, d);
      }
      worst = std::max(worst, difference / scale);
    }
    return worst;
  }

  Ledger ledger_;
  Executor executor_{2};
};

class MambaGoldenTest : public ModelFixture, public ::testing::WithParamInterface<const char*> {
 protected:
  std::string directory() const { return std::string(kGoldens) + GetParam(); }
};

struct GoldenSequence {
  std::vector<int32_t> tokens;
  std::vector<int64_t> positions;
  std::vector<int32_t> argmax;  // of every position
  std::vector<double> gap;      // between the two best
  std::vector<float> logits;    // [positions, V]
};

std::vector<GoldenSequence> ReadGoldens(const std::string& directory) {
  const auto text = ReadTextFile(directory + "/golden.json");
  const auto file = MappedFile::Open(directory + "/golden.safetensors");
  EXPECT_TRUE(text.ok() && file.ok());
  const auto header = ParseSafetensorsHeader(file->bytes(), file->bytes().size());
  EXPECT_TRUE(header.ok()) << header.status();
  std::vector<GoldenSequence> sequences;
  const nlohmann::json golden = nlohmann::json::parse(*text);
  for (const auto& entry : golden["sequences"]) {
    GoldenSequence& sequence = sequences.emplace_back();
    entry["tokens"].get_to(sequence.tokens);
    entry["positions"].get_to(sequence.positions);
    entry["argmax"].get_to(sequence.argmax);
    entry["gap"].get_to(sequence.gap);
    const TensorRecord& record = header->at(absl::StrCat("logits.", sequence.tokens.size()));
    const TensorView view{record.dtype, record.shape,
                          file->bytes().subspan(record.begin, record.end - record.begin)};
    sequence.logits.resize(view.elements());
    ToFloat(view, sequence.logits.data());
  }
  EXPECT_EQ(sequences.size(), 7u);
  return sequences;
}

TEST_P(MambaGoldenTest, LogitsEqualTransformers) {
  const auto model = Load(directory());
  ASSERT_NE(model, nullptr);
  const int64_t V = model->info().vocab_size;
  for (const GoldenSequence& golden : ReadGoldens(directory())) {
    const Logits logits = ForwardWhole(*model, golden.tokens);
    for (size_t i = 0; i < golden.positions.size(); ++i) {
      const auto& row = logits[golden.positions[i]];
      for (int64_t v = 0; v < V; ++v) {
        ASSERT_NEAR(row[v], golden.logits[i * V + v], 1e-3)
            << "L " << golden.tokens.size() << " position " << golden.positions[i] << " token "
            << v;
      }
    }
    for (size_t position = 0; position < golden.argmax.size(); ++position) {
      if (golden.gap[position] < 2e-3) continue;
      const auto& row = logits[position];
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), golden.argmax[position])
          << position;
    }
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
    // Up to 16 rows a product sums in one order, and the rest of the model always does.
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

  // The states that the batch left behind go on as if each had been alone.
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
  EXPECT_GT(error, 0);  // it is another arithmetic
  EXPECT_LE(Difference(b, ForwardInPieces(*rounded, tokens, std::vector<int64_t>(64, 1))), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Goldens, MambaGoldenTest,
                         ::testing::Values("hf_tied", "hf_untied", "original", "original_ssm_cfg",
                                           "odd_sizes", "conv3_bias", "no_conv_bias", "bf16", "f16",
                                           "sharded"),
                         [](const auto& info) { return info.param; });

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
    for (const auto& span : model.DecodeWeights()) sum += span.size();
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

// The demo model's greedy continuations, from an independent fp32 implementation.
TEST_F(MambaTest, TheDemoModelContinuesItsReferencePrompts) {
  const auto model = Load(kDemo);
  ASSERT_NE(model, nullptr);
  const nlohmann::json reference =
      nlohmann::json::parse(std::ifstream(std::string(kDemo) + "/reference.json"));
  ASSERT_EQ(reference["greedy"].size(), 5u);
  for (const auto& entry : reference["greedy"]) {
    const auto prompt = entry["prompt_ids"].get<std::vector<int32_t>>();
    auto state = NewState(*model);
    std::vector<float> row = Forward(*model, {{prompt, state.get(), LogitsOf::kLast}}).back();
    for (const auto& best : entry["first_logits_top8"]) {
      EXPECT_NEAR(row[best[0].get<int>()], best[1].get<float>(), 1e-3);
    }
    for (const int32_t expected : entry["token_ids"]) {
      const auto token =
          static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
      ASSERT_EQ(token, expected) << entry["prompt"];
      row = Forward(*model, {{{&token, 1}, state.get(), LogitsOf::kLast}}).back();
    }
  }
}

}  // namespace
}  // namespace whipsnake::engine
