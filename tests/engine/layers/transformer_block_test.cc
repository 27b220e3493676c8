// The transformer block in each of its configurations, against plain loops in fp64. GPT-2's is also
// compared with transformers' logits (tests/engine/models/gpt2_test.cc).
#include "engine/layers/transformer_block.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/checkpoint/checkpoint.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;
using Matrix = std::vector<std::vector<double>>;  // rows

constexpr int64_t kWidth = 16, kInner = 24, kHeads = 2, kRows = 5;

// One configuration: GPT-2's, or one that has BERT's names.
struct Variant {
  const char* name;
  NormPlacement placement;
  bool causal;
  bool bias;
  bool separate;  // queries, keys and values come from three modules
};

constexpr Variant kVariants[] = {
    {"Gpt2", NormPlacement::kBefore, true, true, false},
    {"Vit", NormPlacement::kBefore, false, true, true},
    {"Bert", NormPlacement::kAfter, false, true, true},
    {"PostNormDecoder", NormPlacement::kAfter, true, false, false},
    {"WithoutBiases", NormPlacement::kBefore, true, false, true},
};

TransformerBlockConfig ConfigOf(const Variant& variant) {
  TransformerNames names{
      .attention_norm = "attention.output.LayerNorm",
      .attention_inputs = {"attention.self.qkv"},
      .attention_output = "attention.output.dense",
      .feed_forward_norm = "output.LayerNorm",
      .feed_forward_input = "intermediate.dense",
      .feed_forward_output = "output.dense",
      .activation = "intermediate.act",
  };
  if (variant.separate) {
    names.attention_inputs = {"attention.self.query", "attention.self.key", "attention.self.value"};
  }
  return {.hidden_size = kWidth,
          .inner_size = kInner,
          .norm_placement = variant.placement,
          .norm_epsilon = 1e-3f,
          .causal = variant.causal,
          .attention_scale = 0.5f,
          .attention_bias = variant.bias,
          .feed_forward_bias = variant.bias,
          .activation = {kernels::Activation::kRelu, std::nullopt},
          .names = names,
          .transposed_weights = false};
}

// Random tensors that are made when they are first asked for.
class Weights {
 public:
  void Add(const std::string& name, std::vector<int64_t> shape) {
    int64_t elements = 1;
    for (const int64_t size : shape) elements *= size;
    std::vector<float> values(elements);
    std::normal_distribution<float> normal(0, 0.4f);
    for (float& value : values) value = normal(random_);
    OwnedTensor tensor{name, kernels::DType::kF32, std::move(shape), {}};
    const auto bytes = std::as_bytes(std::span(values));
    tensor.data.assign(bytes.begin(), bytes.end());
    tensors_.push_back(std::move(tensor));
    values_[name] = std::move(values);
  }
  void AddModule(const std::string& name, int64_t outputs, int64_t inputs, bool bias) {
    Add(name + ".weight", {outputs, inputs});
    if (bias) Add(name + ".bias", {outputs});
  }
  void AddNorm(const std::string& name) {
    Add(name + ".weight", {kWidth});
    Add(name + ".bias", {kWidth});
  }

  const std::vector<OwnedTensor>& tensors() const { return tensors_; }
  const std::vector<float>& operator[](const std::string& name) const { return values_.at(name); }
  bool Contains(const std::string& name) const { return values_.contains(name); }

 private:
  std::mt19937 random_{7};
  std::vector<OwnedTensor> tensors_;
  std::map<std::string, std::vector<float>> values_;
};

Weights RandomWeights(const TransformerBlockConfig& config) {
  Weights weights;
  const TransformerNames& names = config.names;
  const int64_t parts = std::ssize(names.attention_inputs);
  for (const std::string& name : names.attention_inputs) {
    weights.AddModule("layer." + name, 3 * kWidth / parts, kWidth, config.attention_bias);
  }
  weights.AddModule("layer." + names.attention_output, kWidth, kWidth, config.attention_bias);
  weights.AddModule("layer." + names.feed_forward_input, kInner, kWidth, config.feed_forward_bias);
  weights.AddModule("layer." + names.feed_forward_output, kWidth, kInner, config.feed_forward_bias);
  weights.AddNorm("layer." + names.attention_norm);
  weights.AddNorm("layer." + names.feed_forward_norm);
  return weights;
}

// The equations of transformer_block.h.
class Reference {
 public:
  Reference(const TransformerBlockConfig& config, const Weights& weights)
      : config_(config), weights_(weights) {}

  Matrix Forward(const Matrix& input) const {
    const TransformerNames& names = config_.names;
    const Matrix attended = AddLayer(input, names.attention_norm, [&](const Matrix& u) {
      return Product(names.attention_output, Attention(u));
    });
    return AddLayer(attended, names.feed_forward_norm, [&](const Matrix& u) {
      Matrix inner = Product(names.feed_forward_input, u);
      for (auto& row : inner) {
        for (double& value : row) value = std::max(value, 0.0);
      }
      return Product(names.feed_forward_output, inner);
    });
  }

 private:
  Matrix AddLayer(const Matrix& input, const std::string& norm,
                  const std::function<Matrix(const Matrix&)>& layer) const {
    const bool before = config_.norm_placement == NormPlacement::kBefore;
    Matrix sum = layer(before ? Norm(norm, input) : input);
    for (size_t r = 0; r < sum.size(); ++r) {
      for (size_t c = 0; c < sum[r].size(); ++c) sum[r][c] += input[r][c];
    }
    return before ? sum : Norm(norm, sum);
  }

  Matrix Norm(const std::string& name, Matrix rows) const {
    const auto &gamma = weights_["layer." + name + ".weight"],
               &beta = weights_["layer." + name + ".bias"];
    for (auto& row : rows) {
      double mean = 0, variance = 0;
      for (const double value : row) mean += value / kWidth;
      for (const double value : row) variance += (value - mean) * (value - mean) / kWidth;
      for (int64_t c = 0; c < kWidth; ++c) {
        row[c] = (row[c] - mean) / std::sqrt(variance + config_.norm_epsilon) * gamma[c] + beta[c];
      }
    }
    return rows;
  }

  Matrix Product(const std::string& name, const Matrix& rows) const {
    const auto& weight = weights_["layer." + name + ".weight"];
    const std::string bias = "layer." + name + ".bias";
    const size_t inputs = rows.front().size(), outputs = weight.size() / inputs;
    Matrix product(rows.size(), std::vector<double>(outputs));
    for (size_t r = 0; r < rows.size(); ++r) {
      for (size_t n = 0; n < outputs; ++n) {
        double sum = weights_.Contains(bias) ? weights_[bias][n] : 0;
        for (size_t k = 0; k < inputs; ++k) sum += weight[n * inputs + k] * rows[r][k];
        product[r][n] = sum;
      }
    }
    return product;
  }

  Matrix Attention(const Matrix& u) const {
    Matrix qkv(u.size());
    for (const std::string& name : config_.names.attention_inputs) {
      const Matrix part = Product(name, u);
      for (size_t r = 0; r < u.size(); ++r) {
        qkv[r].insert(qkv[r].end(), part[r].begin(), part[r].end());
      }
    }
    Matrix y(u.size(), std::vector<double>(kWidth));
    constexpr int64_t D = kWidth / kHeads;
    for (int64_t head = 0; head < kHeads; ++head) {
      for (size_t i = 0; i < u.size(); ++i) {
        const size_t seen = config_.causal ? i + 1 : u.size();
        double total = 0;
        for (size_t j = 0; j < seen; ++j) {
          double score = 0;
          for (int64_t c = head * D; c < (head + 1) * D; ++c)
            score += qkv[i][c] * qkv[j][kWidth + c];
          const double weight = std::exp(config_.attention_scale * score);
          total += weight;
          for (int64_t c = head * D; c < (head + 1) * D; ++c) {
            y[i][c] += weight * qkv[j][2 * kWidth + c];
          }
        }
        for (int64_t c = head * D; c < (head + 1) * D; ++c) y[i][c] /= total;
      }
    }
    return y;
  }

  const TransformerBlockConfig& config_;
  const Weights& weights_;
};

class TransformerBlockTest : public testing::TestWithParam<Variant> {
 protected:
  // Loads the block and runs the rows of one sequence through it.
  Matrix Forward(const TransformerBlockConfig& config, const Weights& weights,
                 const Matrix& input) {
    const auto checkpoint = Checkpoint::Of(weights.tensors());
    const KvShape kv{{kernels::DType::kF32, kHeads, kWidth / kHeads}, 1};
    WeightLoader loader(checkpoint.get(), &ledger_);
    const auto block = TransformerBlock::Load(loader, "layer.", config, {}, kv, 0, nullptr);
    EXPECT_TRUE(block.ok()) << block.status();
    EXPECT_TRUE(loader.FindUnused([](auto) { return Surplus::kOfLayers; }, "a block").ok());
    KvState state(&ledger_, kv);
    EXPECT_TRUE(state.MakeRoom(kRows).ok());

    std::vector<float> sum(kRows * kWidth), addend(kRows * kWidth);
    for (int64_t i = 0; i < kRows * kWidth; ++i) {
      sum[i] = static_cast<float>(input[i / kWidth][i % kWidth]);
    }
    ResidualStream stream{{sum.data(), kRows, kWidth}, {addend.data(), kRows, kWidth}};
    auto scratch = ledger_.Allocate((*block)->ScratchBytes(kRows), Purpose::kWorkspace, "scratch");
    const BlockRun run{0, kRows, &state};
    executor_.Run(Priority::kDecode, [&](const kernels::Context& context) {
      (*block)->Forward(context, {&run, 1}, stream, Arena(scratch->data()));
    });
    Matrix output(kRows, std::vector<double>(kWidth));
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kWidth; ++c) {
        output[r][c] = stream.sum.row(r)[c] + (stream.pending ? stream.addend.row(r)[c] : 0);
      }
    }
    return output;
  }

  Ledger ledger_;
  Executor executor_{2};
};

TEST_P(TransformerBlockTest, EqualsPlainLoops) {
  const TransformerBlockConfig config = ConfigOf(GetParam());
  const Weights weights = RandomWeights(config);
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  Matrix input(kRows, std::vector<double>(kWidth));
  for (auto& row : input) {
    for (double& value : row) value = static_cast<float>(normal(random));
  }
  const Matrix seen = Forward(config, weights, input);
  const Matrix expected = Reference(config, weights).Forward(input);
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kWidth; ++c) {
      ASSERT_NEAR(seen[r][c], expected[r][c], 2e-5 * std::max(1.0, std::abs(expected[r][c])))
          << "row " << r << ", column " << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, TransformerBlockTest, testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

}  // namespace
}  // namespace whipsnake::engine
