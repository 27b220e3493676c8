#include "engine/quantize/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace whipsnake::engine {
namespace {

using ::testing::HasSubstr;

ModelConfig ConfigOf(const char* type) {
  return *ParseModelConfig(std::string(R"({"model_type": ")") + type + "\"}");
}

std::string Refusal(const RecipeOptions& names, const char* type) {
  const ModelConfig model = ConfigOf(type);
  const auto recipe = ParseRecipe(names, &model);
  return std::string((recipe.ok() ? CheckRecipe(*recipe, model) : recipe.status()).message());
}

TEST(ParseRecipe, TheDefaultIsTheArchitecturesOwn) {
  const ModelConfig mamba = ConfigOf("mamba"), gpt2 = ConfigOf("gpt2");
  EXPECT_EQ(ParseRecipe({})->scheme, Scheme::kQuamba);
  EXPECT_EQ(ParseRecipe({}, &mamba)->scheme, Scheme::kQuamba);
  const auto recipe = ParseRecipe({}, &gpt2);
  EXPECT_EQ(recipe->scheme, Scheme::kW8A8);
  EXPECT_FALSE(recipe->static_activations);
  EXPECT_TRUE(CheckRecipe(*recipe, gpt2).ok());
  const auto fixed = ParseRecipe({.activations = "static", .activation_table = true}, &gpt2);
  EXPECT_TRUE(fixed->static_activations);
  EXPECT_TRUE(fixed->activation_table);
}

TEST(ParseRecipe, WhatDoesNotGoTogetherIsNamed) {
  EXPECT_THAT(Refusal({.scheme = "w8a8"}, "mamba"),
              HasSubstr("scheme: \"w8a8\" seen, expected quamba-w8a8, "));
  EXPECT_THAT(Refusal({.scheme = "quamba-w8a8"}, "gpt2"),
              HasSubstr("scheme: \"quamba-w8a8\" seen, expected w8a8"));
  EXPECT_THAT(Refusal({.activations = "static"}, "mamba"), HasSubstr("activations: \"static\""));
  EXPECT_THAT(Refusal({.activation_table = true}, "mamba"), HasSubstr("activation_table: true"));
  EXPECT_THAT(
      Refusal({.activation_table = true}, "gpt2"),
      HasSubstr("activation_table: true seen, expected false unless activations is static"));
  EXPECT_THAT(Refusal({.activations = "both"}, "gpt2"), HasSubstr("expected dynamic or static"));
  EXPECT_THAT(Refusal({.granularity = "tensor"}, "gpt2"), HasSubstr("granularity: \"tensor\""));
  EXPECT_THAT(Refusal({.residual_rotation = true}, "gpt2"), HasSubstr("residual_rotation: true"));
  EXPECT_THAT(Refusal({.scheme = "fp32"}, "gpt2"), HasSubstr("scheme: \"fp32\""));
}

}  // namespace
}  // namespace whipsnake::engine
