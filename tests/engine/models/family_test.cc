// Adds a toy family, which is defined in this file alone, and checks that loading, random weights,
// quantization and conversion use it.
#include "engine/models/family.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/convert.h"
#include "engine/models/parameter_spec.h"
#include "engine/models/random_model.h"
#include "engine/quantize/quantize.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using testing::HasSubstr;

// A model whose logits are its one row of weights for every input.
struct ToyConfig {
  int64_t vocab_size = 0;
};

class ToyState final : public State {
 public:
  int64_t position() const override { return position_; }
  void Advance(int64_t tokens) override { position_ += tokens; }
  absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t) const override {
    return std::make_unique<ToyState>(*this);
  }
  int64_t bytes() const override { return 0; }
  void AppendMemory(std::vector<MemoryPiece>&) const override {}
  absl::Status Save(std::span<std::byte>) const override { return absl::OkStatus(); }

 private:
  int64_t position_ = 0;
};

class ToyModel final : public Model {
 public:
  explicit ToyModel(std::vector<float> logits) : logits_(std::move(logits)) {
    info_.architecture = "toy";
    info_.vocab_size = std::ssize(logits_);
  }

  const ModelInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<State>> NewState() override {
    return std::make_unique<ToyState>();
  }
  absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t,
                                                      std::span<const std::byte>) override {
    return NewState();
  }
  absl::StatusOr<kernels::MatrixView<const float>> Forward(std::span<const Run>) override {
    return kernels::MatrixView<const float>(logits_.data(), 1, std::ssize(logits_));
  }

 private:
  ModelInfo info_;
  const std::vector<float> logits_;
};

constexpr Scheme kSchemes[] = {Scheme::kW8A8};
constexpr kernels::DType kStateTypes[] = {kernels::DType::kF32};
extern const Family kToyFamily;

absl::StatusOr<ModelConfig> ParseToy(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseJsonObject(text));
  JsonObjectReader reader(document);
  const ToyConfig toy{reader.Integer("vocab_size", 300, 1, 1000)};
  RETURN_IF_ERROR(reader.status());
  return ModelConfig{.family = &kToyFamily,
                     .architecture = toy,
                     .parameters = toy.vocab_size,
                     .tokenizer_size = toy.vocab_size,
                     .eos_token_ids = {0},
                     .quantized = std::nullopt};
}

absl::StatusOr<std::unique_ptr<Model>> MakeToy(const ModelConfig& config,
                                               std::shared_ptr<const Checkpoint> checkpoint,
                                               const ModelOptions&, const ModelEnvironment&) {
  const int64_t shape[] = {config.As<ToyConfig>().vocab_size};
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint->Get("logits", shape));
  std::vector<float> logits(shape[0]);
  ToFloat(tensor, logits.data());
  return std::make_unique<ToyModel>(std::move(logits));
}

std::vector<ParameterSpec> ToyParameters(const ModelConfig& config) {
  return {{"logits", {config.As<ToyConfig>().vocab_size}, ParameterRole::kBias, Constant(2)}};
}

absl::Status AnyRecipe(const Recipe&, const ModelConfig&) { return absl::OkStatus(); }

absl::StatusOr<QuantizationReport> QuantizeToy(const std::string&, const std::string&,
                                               const QuantizationInputs& inputs) {
  QuantizationReport report;
  report.float_bytes = inputs.config.parameters * 4;
  return report;
}

const Family kToyFamily = {
    .name = "toy",
    .noun = "a toy",
    .quantized_schemes = kSchemes,
    .float_state_types = kStateTypes,
    .parse_config = ParseToy,
    .make_model = MakeToy,
    .parameters = ToyParameters,
    .check_recipe = AnyRecipe,
    .quantize = QuantizeToy,
    .convert_activation = nullptr,
    .fixed_activation = "a toy has no activation",
};

class FamilyTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { AddFamily(&kToyFamily); }

  void SetUp() override {
    ASSERT_TRUE(
        WriteRandomModel(R"({"model_type": "toy", "vocab_size": 257})", 1, directory_).ok());
  }

  TemporaryDirectory parent_;
  const std::string directory_ = parent_ / "toy";
  Ledger ledger_;
  Executor executor_{1};
  const ModelEnvironment environment_{&executor_, &ledger_};
};

TEST_F(FamilyTest, IsLoaded) {
  const auto model = LoadModel(directory_, {}, environment_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().architecture, "toy");
  const auto logits = (*model)->Forward({});
  ASSERT_TRUE(logits.ok());
  ASSERT_EQ(logits->cols, 257);
  EXPECT_EQ(logits->row(0)[256], 2);
}

TEST_F(FamilyTest, OptionsAreChecked) {
  const absl::Status status =
      LoadModel(directory_, {.state_type = kernels::DType::kI8}, environment_).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("a toy of float weights"));
}

TEST_F(FamilyTest, IsQuantized) {
  const auto config = ReadModelConfig(directory_);
  ASSERT_TRUE(config.ok());
  const auto recipe = ParseRecipe({}, &*config);
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->scheme, Scheme::kW8A8);
  const auto progress = [](std::string_view, double) { return absl::OkStatus(); };
  const auto report =
      QuantizeModel(directory_, {}, {*recipe, {}}, parent_ / "out", environment_, progress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->float_bytes, 257 * 4);
  const auto other = QuantizeModel(directory_, {}, {RecipeOf(Scheme::kQuamba), {}}, parent_ / "out",
                                   environment_, progress);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("w8a8 for a toy"));
}

TEST_F(FamilyTest, ItsActivationStays) {
  const absl::Status status =
      ConvertActivation(directory_, "crrelu", std::nullopt, parent_ / "out").status();
  EXPECT_TRUE(absl::IsUnimplemented(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("a toy has no activation"));
}

TEST_F(FamilyTest, AnUnknownOneIsToldWhatThereIs) {
  const absl::Status status = ParseModelConfig(R"({"model_type": "t5"})").status();
  EXPECT_THAT(std::string(status.message()), HasSubstr(R"(expected "mamba", "gpt2" or "toy")"));
}

}  // namespace
}  // namespace whipsnake::engine
