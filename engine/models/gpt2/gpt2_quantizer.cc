#include "engine/models/gpt2/gpt2_quantizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/layers/transformer_block.h"
#include "engine/layers/weights.h"
#include "engine/models/gpt2/gpt2_names.h"
#include "kernels/activation/activation.h"

namespace whipsnake::engine {
namespace {

using kernels::Activation;
using kernels::ActivationFunction;
using kernels::MatrixView;
using Floats = std::vector<float>;
using Site = TransformerSite;

// A linear layer's weight as [N,K], and its bias.
struct Product {
  std::string name;
  int64_t outputs, inputs;
  Floats weight, bias;

  MatrixView<float> matrix() { return {weight.data(), outputs, inputs}; }
  // Divides the outputs from `begin` on by the factors.
  void DivideOutputs(int64_t begin, const Floats& factors) {
    for (size_t i = 0; i < factors.size(); ++i) {
      float* row = matrix().row(begin + static_cast<int64_t>(i));
      for (int64_t k = 0; k < inputs; ++k) row[k] /= factors[i];
      bias[begin + i] /= factors[i];
    }
  }
};

struct LayerNorm {
  std::string name;
  Floats gamma, beta;

  void Divide(const Floats& factors) {
    for (size_t i = 0; i < factors.size(); ++i) {
      gamma[i] /= factors[i];
      beta[i] /= factors[i];
    }
  }
};

class Quantizer {
 public:
  Quantizer(const Checkpoint& checkpoint, const Gpt2Config& config, const Recipe& recipe,
            const TransformerStatistics& statistics, Executor& executor)
      : checkpoint_(checkpoint),
        config_(config),
        recipe_(recipe),
        statistics_(statistics),
        executor_(executor),
        prefix_(Gpt2Prefix(checkpoint)) {}

  absl::Status Layer(int64_t index);
  absl::Status EmbeddingsAndHead();
  QuantizedGpt2 Take() { return std::move(result_); }

 private:
  absl::StatusOr<Product> ReadProduct(const std::string& name, int64_t outputs, int64_t inputs);
  absl::StatusOr<LayerNorm> ReadNorm(const std::string& name);
  // Multiplies the product's columns by smoothing factors and returns the factors, by which the
  // inputs at `site` must be divided.
  Floats Smooth(int64_t layer, Site site, Product& product);
  // Adds the product, and the rounding of its inputs at `site`.
  void Add(int64_t layer, Site site, Floats smoothing, const Product& product);
  void Add(const LayerNorm& norm);
  absl::Status AddActivation(int64_t layer);
  void WarnOfEpsilon(int64_t layer, float epsilon, float scale);

  const Checkpoint& checkpoint_;
  const Gpt2Config& config_;
  const Recipe& recipe_;
  const TransformerStatistics& statistics_;
  Executor& executor_;
  const std::string prefix_;
  QuantizedGpt2 result_;
};

absl::StatusOr<Product> Quantizer::ReadProduct(const std::string& name, int64_t outputs,
                                               int64_t inputs) {
  Product product{name, outputs, inputs, Floats(outputs * inputs), {}};
  // Conv1D stores [K,N].
  ASSIGN_OR_RETURN(const Floats stored,
                   ReadFinite(checkpoint_, name + ".weight", {inputs, outputs}));
  for (int64_t k = 0; k < inputs; ++k) {
    for (int64_t n = 0; n < outputs; ++n) {
      product.weight[n * inputs + k] = stored[k * outputs + n];
    }
  }
  ASSIGN_OR_RETURN(product.bias, ReadFinite(checkpoint_, name + ".bias", {outputs}));
  return product;
}

absl::StatusOr<LayerNorm> Quantizer::ReadNorm(const std::string& name) {
  LayerNorm norm{name, {}, {}};
  ASSIGN_OR_RETURN(norm.gamma, ReadFinite(checkpoint_, name + ".weight", {config_.hidden_size}));
  ASSIGN_OR_RETURN(norm.beta, ReadFinite(checkpoint_, name + ".bias", {config_.hidden_size}));
  return norm;
}

Floats Quantizer::Smooth(int64_t layer, Site site, Product& product) {
  Floats smoothing = SmoothingOf(statistics_.at(layer, site).absmax(), product.matrix());
  ScaleColumns(product.matrix(), smoothing);
  return smoothing;
}

void Quantizer::Add(int64_t layer, Site site, Floats smoothing, const Product& product) {
  const ColumnRanges& ranges = statistics_.at(layer, site);
  const float absmax =
      smoothing.empty() ? ranges.whole() : SmoothedAbsMax(ranges.absmax(), smoothing);
  const float scale = ScaleOf(absmax);
  QuantizedTensors& weights = result_.weights;
  weights.AddWeight(product.name + ".weight", {product.outputs, product.inputs}, product.weight,
                    /*scale_per_row=*/true);
  weights.AddFloats(product.name + ".bias", {product.outputs}, product.bias);
  if (recipe_.static_activations) {
    weights.AddFloats(product.name + ".input_scale", {1}, {{scale}});
  }
  result_.sites[{layer, site}] = {std::move(smoothing), recipe_.static_activations ? scale : 0};
  executor_.Yield();
}

void Quantizer::Add(const LayerNorm& norm) {
  result_.weights.AddFloats(norm.name + ".weight", {config_.hidden_size}, norm.gamma);
  result_.weights.AddFloats(norm.name + ".bias", {config_.hidden_size}, norm.beta);
}

// CRReLU's correction is at most |ε| exp(-1/2) (arXiv 2405.12954). If that is less than half a step
// of the codes, nothing of it remains on the negative side.
void Quantizer::WarnOfEpsilon(int64_t layer, float epsilon, float scale) {
  constexpr float kPeak = 0.60653066f;
  if (std::abs(epsilon) * kPeak >= scale / 2) return;
  result_.warnings.push_back(absl::StrFormat(
      "layer %d: epsilon %.3g moves the activation by at most %.2g, less than half a step, %.2g, "
      "of the largest codes there: its codes below zero equal those of ReLU",
      layer, epsilon, std::abs(epsilon) * kPeak, scale / 2));
}

absl::Status Quantizer::AddActivation(int64_t layer) {
  const std::string name = absl::StrCat(prefix_, "h.", layer, ".mlp.act");
  WeightLoader plan(&checkpoint_, nullptr);
  ASSIGN_OR_RETURN(const ActivationFunction f,
                   LoadActivation(plan, name, config_.activation_config()));
  const float from = ScaleOf(statistics_.at(layer, Site::kActivationInput).whole());
  const float to = ScaleOf(statistics_.at(layer, Site::kActivation).whole());
  bool table = recipe_.activation_table;
  if (f.kind == Activation::kCRRelu) {
    result_.weights.AddFloats(name + ".lr", {1}, {{f.epsilon}});
    if (f.epsilon != 0) WarnOfEpsilon(layer, f.epsilon, to);
    if (table && f.epsilon != 0 && kernels::EpsilonVanishes(f.epsilon, from, to)) {
      table = false;
      result_.warnings.push_back(
          absl::StrFormat("layer %d: with scales %.3g and %.3g the activation's table would be "
                          "that of ReLU below zero; it is computed in floats instead",
                          layer, from, to));
    }
  }
  if (!table) return absl::OkStatus();
  result_.weights.AddFloats(name + ".input_scale", {1}, {{from}});
  result_.sites[{layer, Site::kActivationInput}] = {{}, from};
  return absl::OkStatus();
}

absl::Status Quantizer::Layer(int64_t index) {
  const int64_t d = config_.hidden_size, F = config_.inner_size;
  const std::string h = absl::StrCat(prefix_, "h.", index, ".");
  ASSIGN_OR_RETURN(LayerNorm norm_1, ReadNorm(h + "ln_1"));
  ASSIGN_OR_RETURN(Product qkv, ReadProduct(h + "attn.c_attn", 3 * d, d));
  ASSIGN_OR_RETURN(Product out, ReadProduct(h + "attn.c_proj", d, d));
  ASSIGN_OR_RETURN(LayerNorm norm_2, ReadNorm(h + "ln_2"));
  ASSIGN_OR_RETURN(Product up, ReadProduct(h + "mlp.c_fc", F, d));
  ASSIGN_OR_RETURN(const Product down, ReadProduct(h + "mlp.c_proj", d, F));

  Floats u_1 = Smooth(index, Site::kAttentionInput, qkv);
  norm_1.Divide(u_1);
  Floats y = Smooth(index, Site::kAttentionOutput, out);
  qkv.DivideOutputs(2 * d, y);  // y is a weighted mean of the values
  Floats u_2 = Smooth(index, Site::kFeedForwardInput, up);
  norm_2.Divide(u_2);

  Add(norm_1);
  Add(index, Site::kAttentionInput, std::move(u_1), qkv);
  Add(index, Site::kAttentionOutput, std::move(y), out);
  Add(norm_2);
  Add(index, Site::kFeedForwardInput, std::move(u_2), up);
  RETURN_IF_ERROR(AddActivation(index));
  Add(index, Site::kActivation, {}, down);
  return absl::OkStatus();
}

absl::Status Quantizer::EmbeddingsAndHead() {
  const int64_t V = config_.vocab_size, d = config_.hidden_size;
  const std::string table = prefix_ + "wte.weight", positions = prefix_ + "wpe.weight";
  QuantizedTensors& weights = result_.weights;
  ASSIGN_OR_RETURN(const Floats tokens, ReadFinite(checkpoint_, table, {V, d}));
  weights.AddTable(table, {V, d}, tokens, recipe_.head_bits);
  ASSIGN_OR_RETURN(const Floats wpe, ReadFinite(checkpoint_, positions, {config_.positions, d}));
  weights.AddFloats(positions, {config_.positions, d}, wpe);
  ASSIGN_OR_RETURN(const LayerNorm norm, ReadNorm(prefix_ + "ln_f"));
  Add(norm);
  if (config_.labels > 0) {
    ASSIGN_OR_RETURN(const Floats score,
                     ReadFinite(checkpoint_, "score.weight", {config_.labels, d}));
    weights.AddFloats("score.weight", {config_.labels, d}, score);
    return absl::OkStatus();
  }
  if (!config_.tie_embeddings) {
    ASSIGN_OR_RETURN(const Floats head, ReadFinite(checkpoint_, "lm_head.weight", {V, d}));
    weights.AddTable("lm_head.weight", {V, d}, head, recipe_.head_bits);
  }
  if (recipe_.head_bits != 8) return absl::OkStatus();
  const float scale = ScaleOf(statistics_.at(config_.layers, Site::kHeadInput).whole());
  if (recipe_.static_activations) weights.AddFloats("lm_head.input_scale", {1}, {{scale}});
  result_.sites[{config_.layers, Site::kHeadInput}] = {{}, recipe_.static_activations ? scale : 0};
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QuantizedGpt2> QuantizeGpt2Tensors(
    const Checkpoint& checkpoint, const Gpt2Config& config, const Recipe& recipe,
    const TransformerStatistics& statistics, Executor& executor,
    const std::function<absl::Status(double)>& progress) {
  Quantizer quantizer(checkpoint, config, recipe, statistics, executor);
  RETURN_IF_ERROR(QuantizeParts(
      config.layers + 1, executor, progress, [&](const kernels::Context&, int64_t part) {
        return part < config.layers ? quantizer.Layer(part) : quantizer.EmbeddingsAndHead();
      }));
  return quantizer.Take();
}

}  // namespace whipsnake::engine
