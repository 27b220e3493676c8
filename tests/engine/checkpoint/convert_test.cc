#include "engine/checkpoint/convert.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/config.h"
#include "engine/checkpoint/files.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;

class ConvertTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(out_); }
  void TearDown() override { fs::remove_all(out_); }

  absl::Status Convert(const std::string& golden, std::string_view activation,
                       float epsilon = kInitialEpsilon) {
    return ConvertActivation("tests/goldens/gpt2/" + golden, activation, epsilon, out_);
  }

  const std::string out_ = ::testing::TempDir() + "/converted_gpt2";
};

TEST_F(ConvertTest, EveryLayerGetsAnEpsilonAndNothingElseChanges) {
  ASSERT_TRUE(Convert("gelu", "crrelu", -0.25f).ok());
  const auto config = ReadModelConfig(out_);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto& gpt2 = std::get<Gpt2Config>(config->architecture);
  EXPECT_EQ(gpt2.activation, kernels::Activation::kCRRelu);
  EXPECT_EQ(gpt2.crrelu_epsilon_init, -0.25f);
  const auto before = Checkpoint::Open("tests/goldens/gpt2/gelu"), after = Checkpoint::Open(out_);
  EXPECT_EQ((*after)->tensors().size(), (*before)->tensors().size() + 2);
  for (const auto& [name, tensor] : (*before)->tensors()) {
    const TensorView& same = (*after)->tensors().at(name);
    EXPECT_TRUE(std::ranges::equal(same.data, tensor.data)) << name;
    EXPECT_EQ(same.shape, tensor.shape);
  }
  const int64_t one[] = {1};
  for (const char* name : {"transformer.h.0.mlp.act.lr", "transformer.h.1.mlp.act.lr"}) {
    const auto tensor = (*after)->Get(name, one);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    float epsilon;
    ToFloat(*tensor, &epsilon);
    EXPECT_EQ(epsilon, -0.25f);
  }
  EXPECT_EQ(ReadTextFile(out_ + "/crrelu.py").value(), CrreluRegistration());
}

TEST_F(ConvertTest, AnotherActivationHasNoEpsilon) {
  ASSERT_TRUE(Convert("crrelu", "relu").ok());
  const auto after = Checkpoint::Open(out_);
  EXPECT_FALSE((*after)->Contains("transformer.h.0.mlp.act.lr"));
  EXPECT_FALSE(fs::exists(out_ + "/crrelu.py"));
  const auto json = nlohmann::json::parse(std::ifstream(out_ + "/config.json"));
  EXPECT_EQ(json["activation_function"], "relu");
  EXPECT_FALSE(json.contains("crrelu_epsilon_init"));
}

TEST_F(ConvertTest, WhatCannotBeConvertedIsNamedAndNothingIsLeft) {
  EXPECT_THAT(Convert("gelu", "geluu"), Fails(Code::kInvalidArgument, "activation: \"geluu\""));
  EXPECT_THAT(Convert("gelu", "crrelu", HUGE_VALF), Fails(Code::kInvalidArgument, "epsilon: inf"));
  EXPECT_THAT(ConvertActivation("tests/goldens/mamba/hf_tied", "crrelu", 0.01f, out_),
              Fails(Code::kUnimplemented, "mamba"));
  EXPECT_THAT(Convert("absent", "crrelu"), Fails(Code::kNotFound, "config.json"));
  EXPECT_FALSE(fs::exists(out_));
}

// The oracles use the very file that is written for users.
TEST(CrreluRegistration, IsTheOraclesOwn) {
  EXPECT_EQ(ReadTextFile("tests/oracles/crrelu.py").value(), CrreluRegistration());
}

}  // namespace
}  // namespace whipsnake::engine
