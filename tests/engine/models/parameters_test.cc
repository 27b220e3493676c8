// A family declares the parameters of a model from its config, and the layers of a loaded model
// visit what they hold. Both must name the same parameters.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/models/config.h"
#include "engine/models/family.h"
#include "engine/models/model.h"
#include "engine/models/random_model.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

// The shape and the role of each parameter, by name.
using Parameters = std::map<std::string, std::pair<std::vector<int64_t>, ParameterRole>>;

constexpr const char* kConfigs[] = {
    R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 2})",
    R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 1,
        "tie_word_embeddings": false, "use_bias": true, "use_conv_bias": false})",
    R"({"d_model": 24, "n_layer": 2, "vocab_size": 300})",
    R"({"model_type": "gpt2", "vocab_size": 300, "n_positions": 16, "n_embd": 24, "n_layer": 2,
        "n_head": 2})",
    R"({"model_type": "gpt2", "vocab_size": 300, "n_positions": 16, "n_embd": 24, "n_layer": 2,
        "n_head": 3, "n_inner": 40, "activation_function": "crrelu", "tie_word_embeddings": false})",
    R"({"model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"], "vocab_size": 300,
        "n_positions": 16, "n_embd": 24, "n_layer": 1, "n_head": 2, "num_labels": 3})",
};

class ParametersTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteRandomModel(GetParam(), 1, directory_).ok());
    auto config = ReadModelConfig(directory_);
    ASSERT_TRUE(config.ok()) << config.status();
    config_ = *std::move(config);
    declared_ = config_.family->parameters(config_);
  }

  Parameters Declared() const {
    Parameters parameters;
    for (const ParameterSpec& spec : declared_) parameters[spec.name] = {spec.shape, spec.role};
    EXPECT_EQ(parameters.size(), declared_.size()) << "a name occurs twice";
    return parameters;
  }

  TemporaryDirectory parent_;
  const std::string directory_ = parent_ / "model";
  ModelConfig config_;
  std::vector<ParameterSpec> declared_;
  Ledger ledger_;
  Executor executor_{1};
};

TEST_P(ParametersTest, TheCheckpointHasTheDeclaredOnes) {
  const auto checkpoint = Checkpoint::Open(directory_);
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_EQ((*checkpoint)->tensors().size(), declared_.size());
  for (const ParameterSpec& spec : declared_) {
    EXPECT_TRUE((*checkpoint)->Get(spec.name, spec.shape).ok()) << spec.name;
  }
  EXPECT_EQ(config_.parameters, CountParameters(declared_));
}

TEST_P(ParametersTest, ALoadedModelVisitsTheDeclaredOnes) {
  for (const Scheme scheme : {Scheme::kFp32, Scheme::kBf16}) {
    const auto model = LoadModel(directory_, {.scheme = scheme}, {&executor_, &ledger_});
    ASSERT_TRUE(model.ok()) << model.status();
    Parameters visited;
    int64_t bytes = 0;
    (*model)->VisitParameters([&](const Parameter& parameter) {
      EXPECT_TRUE(visited.insert({parameter.name, {parameter.shape, parameter.role}}).second)
          << parameter.name;
      EXPECT_EQ(std::ssize(parameter.bytes), parameter.elements() * ByteSize(parameter.dtype))
          << parameter.name;
      if (parameter.role != ParameterRole::kScalar) bytes += std::ssize(parameter.bytes);
    });
    EXPECT_EQ(visited, Declared());
    EXPECT_EQ((*model)->info().parameters, CountParameters(declared_));
    EXPECT_EQ((*model)->info().weights_bytes, bytes);
  }
}

// Embeddings and biases are held as they are stored.
TEST_P(ParametersTest, EmbeddingsAndBiasesAreThoseOfTheCheckpoint) {
  const auto checkpoint = Checkpoint::Open(directory_);
  ASSERT_TRUE(checkpoint.ok());
  const auto model = LoadModel(directory_, {}, {&executor_, &ledger_});
  ASSERT_TRUE(model.ok()) << model.status();
  (*model)->VisitParameters([&](const Parameter& parameter) {
    if (parameter.role != ParameterRole::kEmbedding && parameter.role != ParameterRole::kBias)
      return;
    const auto stored = (*checkpoint)->Get(parameter.name, parameter.shape);
    ASSERT_TRUE(stored.ok());
    EXPECT_TRUE(std::ranges::equal(stored->data, parameter.bytes)) << parameter.name;
  });
}

INSTANTIATE_TEST_SUITE_P(Configs, ParametersTest, testing::ValuesIn(kConfigs),
                         [](const auto& config) {
                           return "Config" + std::to_string(config.index);
                         });

}  // namespace
}  // namespace whipsnake::engine
