// Folds and rotations are exact in real arithmetic: a folded model computes the same logits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/models/mamba/mamba.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/mamba/mamba_quantizer.h"
#include "engine/quantize/rotation.h"
#include "kernels/hadamard/hadamard.h"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

using Logits = std::vector<std::vector<float>>;

class FoldingTest : public testing::Test {
 protected:
  Logits ForwardAll(const MambaConfig& config, std::span<const OwnedTensor> tensors) {
    auto model = MakeMamba(config, Checkpoint::Of(tensors), {}, {&executor_, &ledger_});
    EXPECT_TRUE(model.ok()) << model.status();
    auto state = (*model)->NewState();
    const std::vector<int32_t> tokens = RandomTokens(50, config.vocab_size);
    const engine::Run run{tokens, state->get(), LogitsOf::kAll};
    const auto result = (*model)->Forward({&run, 1});
    EXPECT_TRUE(result.ok()) << result.status();
    Logits logits;
    for (int64_t r = 0; r < result->rows; ++r) {
      logits.emplace_back(result->row(r), result->row(r) + result->cols);
    }
    return logits;
  }

  // Returns the tensors of the folded model, still in fp32.
  static std::vector<OwnedTensor> Folded(const MambaConfig& config, const Recipe& recipe,
                                         std::span<const OwnedTensor> tensors) {
    const auto checkpoint = Checkpoint::Of(tensors);
    std::vector<OwnedTensor> folded(tensors.begin(), tensors.end());
    const auto set = [&](const std::string& name, const std::vector<float>& values) {
      for (OwnedTensor& tensor : folded) {
        if (tensor.name == name) return std::ranges::copy(values, Floats(tensor).begin()), true;
      }
      return false;
    };
    for (int64_t i = 0; i < config.layers; ++i) {
      auto layer = ReadLayer(*checkpoint, config, i);
      EXPECT_TRUE(layer.ok()) << layer.status();
      FoldLayer(kernels::Context(), config, recipe, *layer);
      const std::string prefix = absl::StrCat("backbone.layers.", i, ".");
      EXPECT_TRUE(set(prefix + "norm.weight", layer->norm));
      EXPECT_TRUE(set(prefix + "mixer.in_proj.weight", layer->in_proj));
      EXPECT_TRUE(set(prefix + "mixer.out_proj.weight", layer->out_proj));
      if (config.use_bias) {
        EXPECT_TRUE(set(prefix + "mixer.out_proj.bias", layer->out_proj_bias));
      }
    }
    auto ends = ReadEmbeddingAndHead(*checkpoint, config);
    EXPECT_TRUE(ends.ok()) << ends.status();
    FoldEmbeddingAndHead(kernels::Context(), config, recipe, *ends);
    EXPECT_TRUE(set("backbone.embeddings.weight", ends->embedding));
    EXPECT_TRUE(set("backbone.norm_f.weight", ends->norm));
    if (!ends->head.empty() && !set("lm_head.weight", ends->head)) {
      folded.push_back(
          FloatsTensor("lm_head.weight", {config.vocab_size, config.hidden_size}, ends->head));
    }
    return folded;
  }

  static void ExpectSame(const Logits& a, const Logits& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t r = 0; r < a.size(); ++r) {
      EXPECT_EQ(std::ranges::max_element(a[r]) - a[r].begin(),
                std::ranges::max_element(b[r]) - b[r].begin());
      const double scale = std::abs(*std::ranges::max_element(
          a[r], [](float x, float y) { return std::abs(x) < std::abs(y); }));
      for (size_t c = 0; c < a[r].size(); ++c) ASSERT_NEAR(a[r][c], b[r][c], 1e-4 * scale) << r;
    }
  }

  Ledger ledger_;
  Executor executor_{2};
};

TEST_F(FoldingTest, LogitsStayTheSame) {
  for (const int64_t hidden_size : {40, 64, 96}) {
    for (const bool tied : {true, false}) {
      for (const bool rotated : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << hidden_size << " tied " << tied << " rotated " << rotated);
        const std::string json = SmallConfig(hidden_size, tied, /*use_bias=*/true);
        const std::vector<OwnedTensor> tensors = Tensors(RandomModel(json), RandomizeNorms);
        MambaConfig config = *ParseMambaConfig(json);
        const Logits before = ForwardAll(config, tensors);
        Recipe recipe;
        recipe.residual_rotation = rotated;
        const std::vector<OwnedTensor> folded = Folded(config, recipe, tensors);
        if (rotated) config.tie_embeddings = false;
        ExpectSame(before, ForwardAll(config, folded));
      }
    }
  }
}

// W y = (W Hᵀ/√E) (H y/√E), also if H is not symmetric.
TEST_F(FoldingTest, RotatedRowsUndoTheOutputsRotation) {
  for (const int64_t width : {40, 64, 80, 96, 768}) {
    const int64_t outputs = 7;
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> weight(outputs * width), y(width);
    for (float& value : weight) value = normal(random);
    for (float& value : y) value = normal(random);
    std::vector<float> rotated_weight = weight, rotated_y = y;
    RotateRows(kernels::Context(), {rotated_weight.data(), outputs, width});
    RotateRows(kernels::Context(), {rotated_y.data(), 1, width});
    for (int64_t n = 0; n < outputs; ++n) {
      double expected = 0, seen = 0;
      for (int64_t k = 0; k < width; ++k) {
        expected += double{weight[n * width + k]} * y[k];
        seen += double{rotated_weight[n * width + k]} * rotated_y[k];
      }
      EXPECT_NEAR(seen, expected, 1e-4 * std::sqrt(width)) << width;
    }
  }
}

// Rotating a weight's columns rotates the layer's outputs.
TEST_F(FoldingTest, RotatedColumnsRotateTheOutputs) {
  const int64_t rows = 40, cols = 100;  // more columns than are processed at once
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> weight(rows * cols);
  for (float& value : weight) value = normal(random);
  std::vector<float> rotated = weight;
  RotateColumns(kernels::Context(), {rotated.data(), rows, cols});
  for (const int64_t c : {int64_t{0}, int64_t{63}, int64_t{64}, cols - 1}) {
    std::vector<float> column(rows);
    for (int64_t r = 0; r < rows; ++r) column[r] = weight[r * cols + c];
    RotateRows(kernels::Context(), {column.data(), 1, rows});
    for (int64_t r = 0; r < rows; ++r) EXPECT_FLOAT_EQ(rotated[r * cols + c], column[r]);
  }
}

}  // namespace
}  // namespace whipsnake::engine
