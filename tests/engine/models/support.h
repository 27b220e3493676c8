// Shared by the model tests: running a model, and reading the goldens that transformers wrote.
#ifndef WHIPSNAKE_TESTS_ENGINE_MODELS_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_MODELS_SUPPORT_H_

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
#include "engine/base/files.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/models/model.h"
#include "nlohmann/json.hpp"

namespace whipsnake::engine {

using Logits = std::vector<std::vector<float>>;  // a row per position

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

  // Returns the logits of all positions of one sequence, processed in runs of the given lengths.
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

  // Returns the largest difference in any row, relative to the row's largest logit but at least 1:
  // another order of summation changes every logit, small or large, by about that much.
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

struct GoldenSequence {
  std::vector<int32_t> tokens;
  std::vector<int64_t> positions;
  std::vector<int32_t> argmax;  // at each position
  std::vector<double> gap;      // between the two best logits
  std::vector<float> logits;    // [positions, outputs]
};

inline std::vector<GoldenSequence> ReadGoldens(const std::string& directory) {
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
    const TensorView view{*record.type->dtype, record.shape,
                          file->bytes().subspan(record.begin, record.end - record.begin)};
    sequence.logits.resize(view.elements());
    ToFloat(view, sequence.logits.data());
  }
  EXPECT_GE(sequences.size(), 5u);
  return sequences;
}

// Compares the logits at the golden positions, and the best token at every position where the two
// best logits differ by at least 2e-3.
inline void ExpectGolden(const GoldenSequence& golden, const Logits& logits, double tolerance) {
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    const auto& row = logits[golden.positions[i]];
    double scale = 1;
    for (const float value : row) scale = std::max<double>(scale, std::abs(value));
    for (size_t v = 0; v < row.size(); ++v) {
      ASSERT_NEAR(row[v], golden.logits[i * row.size() + v], tolerance * scale)
          << "L " << golden.tokens.size() << " position " << golden.positions[i] << " output " << v;
    }
  }
  for (size_t position = 0; position < golden.argmax.size(); ++position) {
    if (golden.gap[position] < 2e-3) continue;
    const auto& row = logits[position];
    EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), golden.argmax[position])
        << position;
  }
}

// Compares a demo model's greedy continuations with those of an independent fp32 implementation.
inline void ExpectReferenceContinuations(Model& model, const std::string& directory) {
  const nlohmann::json reference =
      nlohmann::json::parse(std::ifstream(directory + "/reference.json"));
  ASSERT_EQ(reference["greedy"].size(), 5u);
  const auto last_row = [&](const Run& run) {
    const auto logits = model.Forward({&run, 1});
    EXPECT_TRUE(logits.ok()) << logits.status();
    return std::vector<float>(logits->row(0), logits->row(0) + logits->cols);
  };
  for (const auto& entry : reference["greedy"]) {
    const auto prompt = entry["prompt_ids"].get<std::vector<int32_t>>();
    const auto state = model.NewState();
    ASSERT_TRUE(state.ok());
    std::vector<float> row = last_row({prompt, state->get(), LogitsOf::kLast});
    for (const auto& best : entry["first_logits_top8"]) {
      EXPECT_NEAR(row[best[0].get<int>()], best[1].get<float>(), 1e-3);
    }
    for (const int32_t expected : entry["token_ids"]) {
      const auto token =
          static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
      ASSERT_EQ(token, expected) << entry["prompt"];
      row = last_row({{&token, 1}, state->get(), LogitsOf::kLast});
    }
  }
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_MODELS_SUPPORT_H_
