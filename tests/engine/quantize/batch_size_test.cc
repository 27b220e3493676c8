// A sequence has the same logits in a batch as alone, bit for bit, for several batch sizes, every
// quantized scheme and every form of the head.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/models/config.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/model.h"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using Logits = std::vector<float>;

constexpr int kMaxSequences = 64;

struct Case {
  std::string name;
  std::string config;
  RecipeOptions recipe;
};

void PrintTo(const Case& tried, std::ostream* out) { *out << tried.name; }

constexpr const char* kTransformer = R"({"model_type": "gpt2", "vocab_size": 300, "n_layer": 2,
    "n_embd": 96, "n_head": 3, "n_positions": 64, "activation_function": "crrelu",
    "initializer_range": 0.2, "crrelu_epsilon_init": 0.5)";

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* head : {"int8", "bf16"}) {
    const auto add = [&](std::string name, const std::string& config, RecipeOptions recipe) {
      recipe.head = head;
      cases.push_back({name + "_" + head, config, recipe});
    };
    for (const Scheme scheme : kMambaSchemes) {
      std::string name(Name(scheme));
      std::ranges::replace(name, '-', '_');
      add(name, SmallConfig(96), {.scheme = Name(scheme)});
    }
    add("quamba_tensor", SmallConfig(96), {.scheme = "quamba-w8a8", .granularity = "tensor"});
    add("quamba_untied", SmallConfig(96, /*tied=*/false), {.scheme = "quamba-w8a8"});
    const std::string gpt2 = std::string(kTransformer) + "}";
    add("w8a8_dynamic", gpt2, {.scheme = "w8a8"});
    add("w8a8_static", gpt2, {.scheme = "w8a8", .activations = "static"});
    add("w8a8_table", gpt2, {.scheme = "w8a8", .activations = "static", .activation_table = true});
    add("w8a8_classifier",
        std::string(kTransformer) +
            R"(, "architectures": ["GPT2ForSequenceClassification"], "num_labels": 5,
            "pad_token_id": 0})",
        {.scheme = "w8a8"});
  }
  return cases;
}

class BatchSizeTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto recipe = ParseRecipe(GetParam().recipe);
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    directory_ = FreshDirectory("quantized");
    QuantizeOptions options;
    options.recipe = *recipe;
    if (recipe->percentile) options.percentile = 0.99999;  // given, because choosing it is slow
    const auto report = QuantizeModel(RandomModel(GetParam().config), SmallCalibration(), options,
                                      directory_, environment(), Silent);
    ASSERT_TRUE(report.ok()) << report.status();
  }

  ModelEnvironment environment() { return {.executor = &executor_, .ledger = &ledger_}; }

  // Returns for each sequence the last logits of a prompt, followed by those of one token after it.
  static std::vector<Logits> Together(Model& model, int first, int count) {
    std::vector<std::vector<int32_t>> tokens;
    std::vector<std::unique_ptr<State>> states;
    std::vector<Logits> logits(count);
    for (int i = first; i < first + count; ++i) {
      tokens.push_back(RandomTokens(2 + i % 5, 300, 50 + i));
      states.push_back(*model.NewState());
    }
    for (const bool prompt : {true, false}) {
      std::vector<engine::Run> runs;
      for (int i = 0; i < count; ++i) {
        const std::span<const int32_t> all = tokens[i];
        runs.push_back({prompt ? all.first(all.size() - 1) : all.last(1), states[i].get()});
      }
      const auto result = model.Forward(runs);
      EXPECT_TRUE(result.ok()) << result.status();
      for (int i = 0; i < count; ++i) {
        logits[i].insert(logits[i].end(), result->row(i), result->row(i) + result->cols);
      }
    }
    return logits;
  }

  Ledger ledger_;
  Executor executor_{2};
  std::string directory_;
};

TEST_P(BatchSizeTest, ASequencesLogitsAreItsOwn) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kI8}) {
    const auto model = LoadModel(directory_, {.state_type = type}, environment());
    ASSERT_TRUE(model.ok()) << model.status();
    std::vector<Logits> alone;
    for (int i = 0; i < kMaxSequences; ++i) alone.push_back(Together(**model, i, 1)[0]);
    for (const int count : {16, 17, 48, kMaxSequences}) {
      const std::vector<Logits> batch = Together(**model, 0, count);
      for (int i = 0; i < count; ++i) {
        EXPECT_EQ(batch[i], alone[i])
            << "sequence " << i << " of " << count << ", states " << Name(type);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, BatchSizeTest, testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace whipsnake::engine
