// A checkpoint with tensors beyond the model that config.json describes is refused: an
// implementation that reads those tensors would compute something else.
#include <gmock/gmock.h>

#include "engine/models/config.h"
#include "engine/models/gpt2/gpt2.h"
#include "engine/models/mamba/mamba.h"
#include "engine/models/mamba/mamba_config.h"
#include "tests/engine/checkpoint/support.h"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kGpt2 = R"({"model_type": "gpt2", "vocab_size": 300, "n_embd": 16,
  "n_layer": 2, "n_head": 2, "n_positions": 64})";

// One kind of model directory.
struct Kind {
  std::string name;
  std::string config;
  std::string scheme = "";  // empty: float weights
  std::string activations = "";
  std::string head = "";

  bool is_mamba() const { return config.find("mamba") != std::string::npos; }
  std::string layer(int64_t index) const {
    return absl::StrCat(is_mamba() ? "backbone.layers." : "transformer.h.", index, ".");
  }
};

std::vector<Kind> Kinds() {
  std::vector<Kind> kinds = {
      {.name = "mamba", .config = SmallConfig()},
      {.name = "mamba_untied", .config = SmallConfig(40, /*tied=*/false)},
      {.name = "mamba_bias", .config = SmallConfig(40, /*tied=*/true, /*use_bias=*/true)},
      {.name = "gpt2", .config = kGpt2},
      {.name = "gpt2_static", .config = kGpt2, .scheme = "w8a8", .activations = "static"},
      {.name = "gpt2_dynamic", .config = kGpt2, .scheme = "w8a8", .head = "bf16"}};
  for (const Scheme scheme : kMambaSchemes) {
    kinds.push_back({.name = "mamba_" + std::string(Name(scheme)),
                     .config = SmallConfig(),
                     .scheme = std::string(Name(scheme)),
                     .head = scheme == Scheme::kQuaRot ? "bf16" : ""});
    std::ranges::replace(kinds.back().name, '-', '_');
  }
  return kinds;
}

class SurplusTensorsTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const Kind& kind = GetParam();
    directory_ = RandomModel(kind.config);
    if (!kind.scheme.empty()) Quantize(kind);
    const auto config = ReadModelConfig(directory_);
    ASSERT_TRUE(config.ok()) << config.status();
    config_ = *config;
    tensors_ = Tensors(directory_);
  }

  void TearDown() override {
    std::filesystem::remove_all(std::filesystem::path(directory_).parent_path());
  }

  absl::Status Load(const std::vector<OwnedTensor>& tensors) {
    const ModelEnvironment environment{&executor_, &ledger_};
    std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::Of(tensors);
    if (const auto* mamba = std::any_cast<MambaConfig>(&config_.architecture)) {
      return MakeMamba(*mamba, checkpoint, {}, environment).status();
    }
    return MakeGpt2(config_.As<Gpt2Config>(), checkpoint, {}, environment).status();
  }

  // Returns the error for the file with one more tensor.
  std::string Refusal(const std::string& name, std::vector<int64_t> shape) {
    std::vector<OwnedTensor> tensors = tensors_;
    int64_t elements = 1;
    for (const int64_t size : shape) elements *= size;
    tensors.push_back({name, kernels::DType::kF32, std::move(shape),
                       std::vector<std::byte>(elements * sizeof(float))});
    return std::string(Load(tensors).message());
  }

  std::string directory_;
  ModelConfig config_;
  std::vector<OwnedTensor> tensors_;
  Executor executor_{1};
  Ledger ledger_;

 private:
  void Quantize(const Kind& kind) {
    const auto config = ParseModelConfig(kind.config);
    const auto recipe = ParseRecipe(
        {.scheme = kind.scheme, .head = kind.head, .activations = kind.activations}, &*config);
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    const std::string out = directory_ + "-quantized";
    const auto report = QuantizeModel(directory_, SmallCalibration(),
                                      {.recipe = *recipe, .percentile = AnyPercentile(*recipe)},
                                      out, {&executor_, &ledger_}, Silent);
    ASSERT_TRUE(report.ok()) << report.status();
    directory_ = out;
  }
};

TEST_P(SurplusTensorsTest, TheWholeFileIsTheModel) { EXPECT_TRUE(Load(tensors_).ok()); }

// Tries tensors of other variants of the architecture, and a layer beyond the last.
TEST_P(SurplusTensorsTest, WhatIsNotTheModelsIsNamed) {
  const Kind& kind = GetParam();
  const int64_t layers = kind.is_mamba() ? 3 : 2;
  std::vector<std::string> names = {"lm_head.bias"};
  if (kind.is_mamba()) {
    names.push_back(kind.layer(layers) + "norm.weight");
    for (const char* name : {"mixer.dt_layernorm.weight", "mixer.b_layernorm.weight", "norm.bias",
                             "mixer.in_proj.input_smoothing"}) {
      names.push_back(kind.layer(1) + name);
    }
    if (kind.name != "mamba_bias") names.push_back(kind.layer(0) + "mixer.out_proj.bias");
  } else {
    names.push_back(kind.layer(layers) + "ln_1.weight");
    names.push_back(kind.layer(1) + "crossattention.q_attn.weight");
    names.push_back(kind.layer(0) + "mlp.act.beta");
    names.push_back("wte.weight");
  }
  for (const std::string& name : names) {
    EXPECT_THAT(
        Refusal(name, {4}),
        AllOf(HasSubstr(absl::StrCat("tensor \"", name, "\" seen, expected only the tensors of")),
              HasSubstr(absl::StrCat("of ", layers, " layers"))));
  }
  EXPECT_EQ(ledger_.used(), 0);
}

TEST_P(SurplusTensorsTest, AMaskOfOldFilesIsNot) {
  if (GetParam().is_mamba()) GTEST_SKIP() << "of GPT-2";
  EXPECT_EQ(Refusal("transformer.h.0.attn.bias", {1, 1, 64, 64}), "");
  EXPECT_EQ(Refusal("transformer.h.1.attn.masked_bias", {}), "");
  const std::string file = directory_ + "/model.safetensors";
  AddTensor(file, "transformer.h.0.attn.bias", "BOOL", {1, 1, 64, 64}, 64 * 64);
  AddTensor(file, "transformer.h.1.attn.bias", "U8", {1, 1, 64, 64}, 64 * 64);
  const auto loaded = LoadModel(directory_, {}, {&executor_, &ledger_});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->info().unused_tensors.count, 0);
}

TEST_P(SurplusTensorsTest, WhatIsBesideTheModelIsReportedWhateverItsType) {
  const std::string file = directory_ + "/model.safetensors";
  const std::string layer = GetParam().layer(0);
  const auto load = [&] { return LoadModel(directory_, {}, {&executor_, &ledger_}); };
  const auto clean = load();
  ASSERT_TRUE(clean.ok()) << clean.status();
  EXPECT_EQ((*clean)->info().unused_tensors.text(), "");

  // Known leftovers are not worth a word.
  AddTensor(file, "embeddings.position_ids", "I64", {1, 2}, 16);
  AddTensor(file, layer + "attention.rotary_emb.inv_freq", "F32", {2}, 8);
  ASSERT_TRUE(load().ok()) << load().status();
  EXPECT_EQ((*load())->info().unused_tensors.count, 0);

  AddTensor(file, "a.mask", "U8", {4}, 4);
  AddTensor(file, "b", "F64", {1}, 8);
  AddTensor(file, "c.weight", "F32", {1}, 4);
  AddTensor(file, layer + "counter", "I16", {1}, 2);
  const auto loaded = load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const UnusedTensors& unused = (*loaded)->info().unused_tensors;
  EXPECT_EQ(unused.count, 4);
  EXPECT_THAT(unused.text(), AllOf(HasSubstr("\"a.mask\" (U8)"), HasSubstr("\"b\" (F64)"),
                                   HasSubstr("\"c.weight\" (F32)"), HasSubstr("(I16)")));
  for (int i = 0; i < 100; ++i) AddTensor(file, absl::StrCat("more.", i), "U8", {0}, 0);
  EXPECT_LT((*load())->info().unused_tensors.text().size(), 200);

  // A weight of a type that nothing computes with, in a layer, is a weight all the same.
  AddTensor(file, layer + "extra.weight", "F64", {1}, 8);
  EXPECT_THAT(std::string(load().status().message()),
              HasSubstr("extra.weight\" seen, expected only the tensors of"));
}

INSTANTIATE_TEST_SUITE_P(Kinds, SurplusTensorsTest, ::testing::ValuesIn(Kinds()),
                         [](const auto& test) { return test.param.name; });

// transformers ties head and embedding if they are equal, and uses the file's head if they are not.
class TiedHeadTest : public ::testing::TestWithParam<const char*> {
 protected:
  void TearDown() override {
    std::filesystem::remove_all(std::filesystem::path(directory_).parent_path());
  }

  // Loads a model whose file also stores the embedding as the head, in `type`, after `change` was
  // applied to the head.
  absl::Status Load(kernels::DType type, const std::function<void(std::span<float>)>& change) {
    directory_ = RandomModel(GetParam());
    std::vector<OwnedTensor> tensors = Tensors(directory_);
    const auto embedding = std::ranges::find_if(tensors, [](const OwnedTensor& tensor) {
      return tensor.name == "backbone.embeddings.weight" ||
             tensor.name == "backbone.embedding.weight" || tensor.name == "transformer.wte.weight";
    });
    OwnedTensor head = *embedding;
    head.name = "lm_head.weight";
    change(Floats(head));
    if (type == kernels::DType::kBF16) {
      for (OwnedTensor* tensor : {&head, &*embedding}) {
        for (float& value : Floats(*tensor)) value = kernels::FromBF16(kernels::ToBF16(value));
      }
      std::vector<std::byte> narrow(head.data.size() / 2);
      auto* out = reinterpret_cast<uint16_t*>(narrow.data());
      for (const float value : Floats(head)) *out++ = kernels::ToBF16(value);
      head.dtype = type;
      head.data = narrow;
    }
    tensors.push_back(head);
    EXPECT_TRUE(Overwrite(directory_, tensors).ok());
    return LoadModel(directory_, {}, {&executor_, &ledger_}).status();
  }

  std::string directory_;
  Executor executor_{1};
  Ledger ledger_;
};

TEST_P(TiedHeadTest, IsTheEmbeddingOrRefused) {
  using kernels::DType;
  for (const DType type : {DType::kF32, DType::kBF16}) {
    EXPECT_TRUE(Load(type, [](std::span<float>) {}).ok());
    EXPECT_THAT(std::string(Load(type, [](std::span<float> head) { head.back() += 1; }).message()),
                AllOf(HasSubstr("\"lm_head.weight\": values that differ from those of"),
                      HasSubstr("config ties them")));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Architectures, TiedHeadTest,
    ::testing::Values(R"({"model_type": "mamba", "vocab_size": 300, "num_hidden_layers": 1,
                          "hidden_size": 16, "tie_word_embeddings": true})",
                      R"({"d_model": 16, "n_layer": 1, "vocab_size": 297})", kGpt2));

}  // namespace
}  // namespace whipsnake::engine
