#include "engine/models/convert.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/base/files.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/config.h"
#include "engine/models/gpt2/gpt2_config.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;

class ConvertTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(out_); }
  void TearDown() override { fs::remove_all(out_); }

  absl::StatusOr<Conversion> Convert(const std::string& golden, std::string_view activation,
                                     std::optional<float> epsilon = std::nullopt) {
    return ConvertActivation("tests/goldens/gpt2/" + golden, activation, epsilon, out_);
  }

  static float Epsilon(const std::string& directory, int64_t layer) {
    const auto checkpoint = Checkpoint::Open(directory);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    const int64_t one[] = {1};
    const auto tensor =
        (*checkpoint)->Get(absl::StrCat("transformer.h.", layer, ".mlp.act.lr"), one);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    float epsilon = 0;
    if (tensor.ok()) ToFloat(*tensor, &epsilon);
    return epsilon;
  }

  const std::string out_ = ::testing::TempDir() + "/converted_gpt2";
};

TEST_F(ConvertTest, EveryLayerGetsAnEpsilonAndNothingElseChanges) {
  ASSERT_TRUE(Convert("gelu", "crrelu", -0.25f).ok());
  const auto config = ReadModelConfig(out_);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto& gpt2 = config->As<Gpt2Config>();
  EXPECT_EQ(gpt2.activation, kernels::Activation::kCRRelu);
  EXPECT_EQ(gpt2.crrelu_epsilon_init, -0.25f);
  const auto before = Checkpoint::Open("tests/goldens/gpt2/gelu"), after = Checkpoint::Open(out_);
  EXPECT_EQ((*after)->tensors().size(), (*before)->tensors().size() + 2);
  for (const auto& [name, tensor] : (*before)->tensors()) {
    const TensorView& same = (*after)->tensors().at(name);
    EXPECT_TRUE(std::ranges::equal(same.data, tensor.data)) << name;
    EXPECT_EQ(same.shape, tensor.shape);
  }
  for (const int64_t layer : {0, 1}) EXPECT_EQ(Epsilon(out_, layer), -0.25f);
  EXPECT_EQ(ReadTextFile(out_ + "/crrelu.py").value(), CrreluRegistration());
}

TEST_F(ConvertTest, AnotherActivationHasNoEpsilon) {
  ASSERT_TRUE(Convert("crrelu", "relu").ok());
  const auto after = Checkpoint::Open(out_);
  EXPECT_FALSE((*after)->Contains("transformer.h.0.mlp.act.lr"));
  EXPECT_FALSE(fs::exists(out_ + "/crrelu.py"));
  const auto config = nlohmann::json::parse(std::ifstream(out_ + "/config.json"));
  EXPECT_EQ(config["activation_function"], "relu");
  EXPECT_FALSE(config.contains("crrelu_epsilon_init"));
}

TEST_F(ConvertTest, EpsilonsThatWereTrainedAreKeptUnlessAnotherIsGiven) {
  const std::string trained = "tests/goldens/gpt2/crrelu";
  const float first = Epsilon(trained, 0), second = Epsilon(trained, 1);
  ASSERT_NE(first, second);
  const auto kept = Convert("crrelu", "crrelu");
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_TRUE(kept->kept_epsilons);
  EXPECT_EQ(Epsilon(out_, 0), first);
  EXPECT_EQ(Epsilon(out_, 1), second);

  fs::remove_all(out_);
  const auto set = Convert("crrelu", "crrelu", 0.5f);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_FALSE(set->kept_epsilons);
  EXPECT_EQ(set->epsilon, 0.5f);
  EXPECT_EQ(Epsilon(out_, 0), 0.5f);

  // A model whose layers have no epsilons of their own, only the one in config.json.
  const std::string shared = out_ + "_shared";
  fs::remove_all(shared);
  fs::copy("tests/goldens/gpt2/relu", shared);
  auto config = nlohmann::json::parse(std::ifstream(shared + "/config.json"));
  config["activation_function"] = "crrelu";
  std::ofstream(shared + "/config.json") << config;
  fs::remove_all(out_);
  EXPECT_THAT(ConvertActivation(shared, "crrelu", std::nullopt, out_),
              Fails(Code::kNotFound, "transformer.h.0.mlp.act.lr"));
  config["crrelu_epsilon_init"] = 0.125;
  std::ofstream(shared + "/config.json") << config;
  const auto same = ConvertActivation(shared, "crrelu", std::nullopt, out_);
  fs::remove_all(shared);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(Epsilon(out_, 1), 0.125f);
}

TEST_F(ConvertTest, WhatCannotBeConvertedIsNamedAndNothingIsLeft) {
  EXPECT_THAT(Convert("gelu", "geluu"), Fails(Code::kInvalidArgument, "activation: \"geluu\""));
  EXPECT_THAT(Convert("gelu", "crrelu", HUGE_VALF), Fails(Code::kInvalidArgument, "epsilon: inf"));
  EXPECT_THAT(Convert("crrelu", "relu", 0.5f),
              Fails(Code::kInvalidArgument, "epsilon: 0.5 seen, expected none"));
  EXPECT_THAT(ConvertActivation("tests/goldens/mamba/hf_tied", "crrelu", 0.01f, out_),
              Fails(Code::kUnimplemented, "mamba"));
  EXPECT_THAT(Convert("absent", "crrelu"), Fails(Code::kNotFound, "config.json"));
  EXPECT_FALSE(fs::exists(out_));
}

// The oracles use the same file that the conversion writes for users.
TEST(CrreluRegistration, IsTheOraclesOwn) {
  EXPECT_EQ(ReadTextFile("tests/oracles/crrelu.py").value(), CrreluRegistration());
}

}  // namespace
}  // namespace whipsnake::engine
