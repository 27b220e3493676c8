#include "engine/models/random_model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/generation_config.h"
#include "engine/models/mamba/mamba_parameters.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using Code = absl::StatusCode;

constexpr char kTied[] = R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 40,
    "num_hidden_layers": 2, "state_size": 5, "conv_kernel": 3, "eos_token_id": [0, 7]})";
constexpr char kUntied[] = R"({"model_type": "mamba", "vocab_size": 257, "hidden_size": 24,
    "num_hidden_layers": 1, "tie_word_embeddings": false, "use_bias": true, "use_conv_bias": false})";
constexpr char kOriginal[] = R"({"d_model": 16, "n_layer": 2, "vocab_size": 261, "ssm_cfg": {}})";

// 64-bit FNV-1a (Fowler, Noll, Vo).
uint64_t Hash(const std::string& bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

std::vector<float> Floats(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView& tensor = checkpoint.tensors().at(name);
  std::vector<float> values(tensor.elements());
  ToFloat(tensor, values.data());
  return values;
}

TEST(WriteRandomModel, IsTheSameForASeedOnEveryMachine) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(WriteRandomModel(kTied, 1, directory / "a").ok());
  ASSERT_TRUE(WriteRandomModel(kTied, 2, directory / "b").ok());
  EXPECT_EQ(Hash(ReadBytes(directory / "a/model.safetensors")), 2951176641242701679u);
  EXPECT_NE(ReadBytes(directory / "a/model.safetensors"),
            ReadBytes(directory / "b/model.safetensors"));
  EXPECT_EQ(ReadBytes(directory / "a/tokenizer.json"), ReadBytes(directory / "b/tokenizer.json"));
}

TEST(WriteRandomModel, HasTheTensorsOfItsConfig) {
  const TemporaryDirectory directory;
  for (const char* text : {kTied, kUntied, kOriginal}) {
    const std::string path = directory / absl::StrCat(Hash(text));
    ASSERT_TRUE(WriteRandomModel(text, 1, path).ok());
    EXPECT_EQ(ReadBytes(path + "/config.json"), text);
    const auto config = ParseMambaConfig(text);
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    int64_t elements = 0;
    for (const auto& [name, tensor] : (*checkpoint)->tensors()) elements += tensor.elements();
    EXPECT_EQ(elements, CountParameters(MambaParameters(*config)));

    const int64_t d = config->hidden_size, E = config->intermediate_size, V = config->vocab_size;
    const char* embedding =
        config->original_form ? "backbone.embedding.weight" : "backbone.embeddings.weight";
    const std::string last = absl::StrCat("backbone.layers.", config->layers - 1, ".mixer.");
    const std::pair<std::string, std::vector<int64_t>> expected[] = {
        {embedding, {V, d}},
        {"backbone.norm_f.weight", {d}},
        {last + "in_proj.weight", {2 * E, d}},
        {last + "conv1d.weight", {E, 1, config->conv_kernel}},
        {last + "x_proj.weight", {config->time_step_rank + 2 * config->state_size, E}},
        {last + "dt_proj.weight", {E, config->time_step_rank}},
        {last + "dt_proj.bias", {E}},
        {last + "A_log", {E, config->state_size}},
        {last + "D", {E}},
        {last + "out_proj.weight", {d, E}},
    };
    for (const auto& [name, shape] : expected) {
      EXPECT_TRUE((*checkpoint)->Get(name, shape).ok()) << (*checkpoint)->Get(name, shape).status();
    }
    EXPECT_EQ((*checkpoint)->Contains("lm_head.weight"), !config->tie_embeddings);
    EXPECT_EQ((*checkpoint)->Contains(last + "in_proj.bias"), config->use_bias);
    EXPECT_EQ((*checkpoint)->Contains(last + "out_proj.bias"), config->use_bias);
    EXPECT_EQ((*checkpoint)->Contains(last + "conv1d.bias"), config->use_conv_bias);
  }
}

TEST(WriteRandomModel, DrawsMambasInitialization) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(WriteRandomModel(kTied, 3, directory / "model").ok());
  const auto opened = Checkpoint::Open(directory / "model");
  ASSERT_TRUE(opened.ok());
  const Checkpoint& checkpoint = **opened;
  const std::string mixer = "backbone.layers.1.mixer.";

  const std::vector<float> a_log = Floats(checkpoint, mixer + "A_log");
  for (size_t i = 0; i < a_log.size(); ++i) EXPECT_NEAR(std::exp(a_log[i]), 1 + i % 5, 1e-5);
  for (const float value : Floats(checkpoint, mixer + "D")) EXPECT_EQ(value, 1);
  for (const float value : Floats(checkpoint, "backbone.layers.0.norm.weight")) EXPECT_EQ(value, 1);

  // softplus(bias) is log-uniform on [0.001, 0.1].
  double mean_log = 0;
  const std::vector<float> bias = Floats(checkpoint, mixer + "dt_proj.bias");
  for (const float value : bias) {
    const double step = std::log1p(std::exp(static_cast<double>(value)));
    EXPECT_GE(step, 0.001 * (1 - 1e-5));
    EXPECT_LE(step, 0.1 * (1 + 1e-5));
    mean_log += std::log10(step) / bias.size();
  }
  EXPECT_NEAR(mean_log, -2, 0.3);

  const auto moments = [&](const std::string& name) {
    const std::vector<float> values = Floats(checkpoint, name);
    double sum = 0, squares = 0, largest = 0;
    for (const double value : values) {
      sum += value;
      squares += value * value;
      largest = std::max(largest, std::abs(value));
    }
    return std::array{sum / values.size(), std::sqrt(squares / values.size()), largest};
  };
  const auto [mean, deviation, largest] = moments("backbone.embeddings.weight");
  EXPECT_NEAR(mean, 0, 0.005);
  EXPECT_NEAR(deviation, 0.1, 0.005);
  EXPECT_GT(largest, 0.3) << "a normal distribution has tails";
  const double bound = 1 / std::sqrt(40);
  const auto in_proj = moments(mixer + "in_proj.weight");
  EXPECT_NEAR(in_proj[0], 0, 0.01);
  EXPECT_NEAR(in_proj[1], bound / std::sqrt(3), 0.005);
  EXPECT_LE(in_proj[2], bound);
  EXPECT_NE(Floats(checkpoint, mixer + "in_proj.weight"),
            Floats(checkpoint, "backbone.layers.0.mixer.in_proj.weight"));
}

TEST(WriteRandomModel, GivesTheConfigsEndOfText) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(WriteRandomModel(kTied, 1, directory / "model").ok());
  const auto defaults =
      ParseGenerationConfig(ReadBytes(directory / "model/generation_config.json"));
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->eos_token_ids, testing::ElementsAre(0, 7));
}

TEST(WriteRandomModel, TellsItsProgress) {
  const TemporaryDirectory directory;
  std::vector<double> seen;
  ASSERT_TRUE(WriteRandomModel(kTied, 1, directory / "model", [&](double share) {
                seen.push_back(share);
              }).ok());
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_GT(seen.front(), 0);
  EXPECT_EQ(seen.back(), 1);
}

TEST(WriteRandomModel, RefusesAndLeavesNothing) {
  const TemporaryDirectory directory;
  EXPECT_THAT(WriteRandomModel("{}", 1, directory / "model"),
              Fails(Code::kInvalidArgument, "model_type"));
  EXPECT_THAT(
      WriteRandomModel(R"({"model_type": "mamba", "vocab_size": 256})", 1, directory / "model"),
      Fails(Code::kInvalidArgument, "vocab_size: 256 seen, expected at least 257"));
  // More than 2^48 bytes of weights.
  EXPECT_THAT(WriteRandomModel(R"({"model_type": "mamba", "hidden_size": 65536,
                                   "num_hidden_layers": 4096})",
                               1, directory / "model"),
              Fails(Code::kResourceExhausted, "bytes of free space"));
  EXPECT_THAT(WriteRandomModel(kTied, 1, directory / "no/parent"),
              Fails(Code::kNotFound, "no/parent"));
  EXPECT_EQ(directory.entries(), 0);

  std::filesystem::create_directory(directory / "full");
  WriteBytes(directory / "full/file", "x");
  EXPECT_THAT(WriteRandomModel(kTied, 1, directory / "full"), Fails(Code::kAlreadyExists, "full"));
  EXPECT_EQ(directory.entries(), 1);
}

}  // namespace
}  // namespace whipsnake::engine
