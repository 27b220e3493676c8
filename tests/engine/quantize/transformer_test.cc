// GPT-2 in 8 bits: close to the float model, and exact where an exact result is known.
#include <gmock/gmock.h>

#include <cmath>

#include "engine/evaluate/perplexity.h"
#include "engine/models/config.h"
#include "engine/models/gpt2/gpt2.h"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kDemo = "deploy/models/gpt2-crrelu-demo";

std::string SmallGpt2(double epsilon = 0.5, const std::string& others = "") {
  return absl::StrCat(R"({"model_type": "gpt2", "vocab_size": 300, "n_layer": 3, "n_embd": 48,
    "n_head": 3, "n_positions": 100, "initializer_range": 0.2, "activation_function": "crrelu",
    "crrelu_epsilon_init": )",
                      epsilon, others, "}");
}

class TransformerQuantizeTest : public ::testing::Test {
 protected:
  absl::StatusOr<QuantizationReport> Quantize(const std::string& directory, const std::string& out,
                                              const RecipeOptions& names,
                                              const CalibrationSet& calibration) {
    const auto model = ReadModelConfig(directory);
    EXPECT_TRUE(model.ok()) << model.status();
    const auto recipe = ParseRecipe(names, &*model);
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    return QuantizeModel(directory, calibration, {.recipe = *recipe, .percentile = {}}, out,
                         environment(), Silent);
  }

  std::unique_ptr<Model> Load(const std::string& directory) {
    auto model = LoadModel(directory, {}, environment());
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

  std::vector<float> Logits(Model& model, std::span<const int32_t> tokens) {
    const auto state = *model.NewState();
    const engine::Run run{tokens, state.get(), LogitsOf::kAll};
    const auto logits = *model.Forward({&run, 1});
    return {logits.data, logits.data + logits.rows * logits.cols};
  }

  double Loss(Model& model, std::span<const int32_t> tokens) {
    const auto result = EvaluatePerplexity(model, executor_, tokens, {.window = 100});
    EXPECT_TRUE(result.ok()) << result.status();
    return result->nll;
  }

  ModelEnvironment environment() { return {.executor = &executor_, .ledger = &ledger_}; }

  Executor executor_{2};
  Ledger ledger_;
};

constexpr RecipeOptions kAll[] = {{},
                                  {.head = "bf16"},
                                  {.activations = "static"},
                                  {.activations = "static", .activation_table = true}};

// Evaluates on text that the demo model generated itself, and so predicts with confidence.
TEST_F(TransformerQuantizeTest, TheDemoLosesLittle) {
  const auto model = Load(kDemo);
  std::vector<int32_t> text = {70, 1394, 358};
  auto state = *model->NewState();
  std::span<const int32_t> next = text;
  CalibrationSet calibration = SmallCalibration(4096);
  while (text.size() < 300) {
    const engine::Run run{next, state.get(), LogitsOf::kLast};
    const auto logits = *model->Forward({&run, 1});
    // Takes the second best token now and then; otherwise the text would repeat itself.
    std::vector<float> row(logits.row(0), logits.row(0) + logits.cols);
    auto best = std::ranges::max_element(row);
    if (text.size() % 5 == 0) *best = -1e9f;
    text.push_back(static_cast<int32_t>(std::ranges::max_element(row) - row.begin()));
    next = std::span(text).last(1);
  }
  calibration.samples[0] = text;
  const double loss = Loss(*model, text);
  for (const RecipeOptions& names : kAll) {
    const std::string out = FreshDirectory("out");
    const auto report = Quantize(kDemo, out, names, calibration);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_THAT(report->warnings, IsEmpty());
    EXPECT_LT(report->quantized_bytes, 0.40 * report->float_bytes);
    const auto quantized = Load(out);
    EXPECT_EQ(quantized->info().scheme, Scheme::kW8A8);
    const double change = Loss(*quantized, text) - loss;
    EXPECT_LT(std::abs(change), 0.02) << names.activations << names.activation_table;
    EXPECT_NE(change, 0) << "it is another arithmetic";
  }
}

// Smoothing moves factors between layers that are linear in them, so only rounding changes the
// result.
TEST_F(TransformerQuantizeTest, SmoothingChangesNothingButTheRounding) {
  const std::string directory = RandomModel(SmallGpt2());
  // One channel of the norms is a hundred times as large as the others.
  std::vector<OwnedTensor> tensors = Tensors(directory, [](OwnedTensor& tensor) {
    RandomizeNorms(tensor);
    if (tensor.name.find("ln_") != std::string::npos && tensor.name.ends_with("weight")) {
      Floats(tensor)[7] *= 100;
    }
  });
  ASSERT_TRUE(Overwrite(directory, tensors).ok());
  const std::string out = FreshDirectory("out");
  ASSERT_TRUE(Quantize(directory, out, {}, SmallCalibration()).ok());
  const auto model = Load(directory), quantized = Load(out);
  const std::vector<int32_t> tokens = RandomTokens(60, 300);
  const std::vector<float> a = Logits(*model, tokens), b = Logits(*quantized, tokens);
  double signal = 0, noise = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    signal += double{a[i]} * a[i];
    noise += double{a[i] - b[i]} * (a[i] - b[i]);
  }
  EXPECT_LT(noise, 0.01 * signal);
  EXPECT_GT(noise, 0);
}

TEST_F(TransformerQuantizeTest, ASmallEpsilonIsWarnedOfAndItsTableIsNotUsed) {
  const RecipeOptions table = {.activations = "static", .activation_table = true};
  const std::string out = FreshDirectory("small");
  const auto small = Quantize(RandomModel(SmallGpt2(0.0001)), out, table, SmallCalibration());
  ASSERT_TRUE(small.ok()) << small.status();
  ASSERT_THAT(small->warnings, SizeIs(6));
  EXPECT_THAT(small->warnings[0], AllOf(HasSubstr("layer 0: epsilon 0.0001"), HasSubstr("ReLU")));
  EXPECT_THAT(small->warnings[1], HasSubstr("computed in floats instead"));
  EXPECT_FALSE((*Checkpoint::Open(out))->Contains("transformer.h.0.mlp.act.input_scale"));
  EXPECT_THAT(ReportJson(*small), HasSubstr("warnings"));

  const std::string other = FreshDirectory("large");
  const auto large = Quantize(RandomModel(SmallGpt2(0.5)), other, table, SmallCalibration());
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_THAT(large->warnings, IsEmpty());
  EXPECT_TRUE((*Checkpoint::Open(other))->Contains("transformer.h.0.mlp.act.input_scale"));
  // With an epsilon of 0 nothing can be lost, so there is no warning.
  const auto none =
      Quantize(RandomModel(SmallGpt2(0)), FreshDirectory("none"), table, SmallCalibration());
  EXPECT_THAT(none->warnings, IsEmpty());
}

// A layer with a warning has no table, whatever the two scales of its activation are.
TEST_F(TransformerQuantizeTest, NoTableWhereTheCodesCannotShowEpsilon) {
  const RecipeOptions table = {.activations = "static", .activation_table = true};
  int with = 0, without = 0;
  for (double epsilon = 0.002; epsilon < 0.3; epsilon *= 1.2) {
    const std::string out = FreshDirectory(absl::StrCat("out", epsilon));
    const auto report = Quantize(RandomModel(SmallGpt2(epsilon)), out, table, SmallCalibration());
    ASSERT_TRUE(report.ok()) << report.status();
    const auto made = *Checkpoint::Open(out);
    for (int layer = 0; layer < 3; ++layer) {
      const bool vanishes = std::ranges::any_of(report->warnings, [&](const std::string& warning) {
        return warning.find(absl::StrCat("layer ", layer, ": epsilon")) != std::string::npos;
      });
      const bool has_table =
          made->Contains(absl::StrCat("transformer.h.", layer, ".mlp.act.input_scale"));
      EXPECT_FALSE(vanishes && has_table) << "epsilon " << epsilon << ", layer " << layer;
      ++(has_table ? with : without);
    }
  }
  EXPECT_GT(with, 0);
  EXPECT_GT(without, 0);
}

TEST_F(TransformerQuantizeTest, TheSameInputGivesTheSameBytes) {
  const std::string directory = RandomModel(SmallGpt2());
  const std::string a = FreshDirectory("a"), b = FreshDirectory("b");
  ASSERT_TRUE(Quantize(directory, a, {}, SmallCalibration()).ok());
  ASSERT_TRUE(Quantize(directory, b, {}, SmallCalibration()).ok());
  for (const char* file : {"/model.safetensors", "/config.json", "/quantization_report.json"}) {
    EXPECT_EQ(*ReadTextFile(a + file), *ReadTextFile(b + file)) << file;
  }
}

TEST_F(TransformerQuantizeTest, WhatCannotBeQuantizedIsNamedAndNothingIsLeft) {
  const std::string directory = RandomModel(SmallGpt2());
  const std::string out = FreshDirectory("out");
  ASSERT_TRUE(Quantize(directory, out, {}, SmallCalibration()).ok());
  const std::string again = FreshDirectory("again");
  const auto twice = Quantize(out, again, {}, SmallCalibration());
  EXPECT_EQ(twice.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(twice.status().message()), HasSubstr("quantized with w8a8"));
  const auto as_fp32 = LoadModel(out, {.scheme = Scheme::kFp32}, environment());
  EXPECT_EQ(as_fp32.status().code(), absl::StatusCode::kFailedPrecondition);

  CalibrationSet wrong = SmallCalibration();
  wrong.samples[3][5] = 300;
  EXPECT_THAT(std::string(Quantize(directory, again, {}, wrong).status().message()),
              HasSubstr("token 300 seen"));
  std::vector<OwnedTensor> tensors = Tensors(directory, [](OwnedTensor& tensor) {
    if (tensor.name == "transformer.h.1.mlp.c_fc.weight") Floats(tensor)[3] = NAN;
  });
  ASSERT_TRUE(Overwrite(directory, tensors).ok());
  EXPECT_THAT(std::string(Quantize(directory, again, {}, SmallCalibration()).status().message()),
              HasSubstr("layer 1"));
  EXPECT_FALSE(std::filesystem::exists(again));
}

}  // namespace
}  // namespace whipsnake::engine
