#include "engine/models/gpt2/gpt2_parameters.h"

#include <cmath>
#include <string>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using Role = ParameterRole;

void AddNorm(const std::string& name, int64_t width, std::vector<ParameterSpec>& parameters) {
  parameters.push_back({name + ".weight", {width}, Role::kNormScale, Constant(1)});
  parameters.push_back({name + ".bias", {width}, Role::kBias, Constant(0)});
}

void AddProduct(const std::string& name, int64_t inputs, int64_t outputs, double deviation,
                std::vector<ParameterSpec>& parameters) {
  parameters.push_back({name + ".weight", {inputs, outputs}, Role::kMatrix, Normal(deviation)});
  parameters.push_back({name + ".bias", {outputs}, Role::kBias, Constant(0)});
}

void AddLayer(const Gpt2Config& config, int64_t layer, std::vector<ParameterSpec>& parameters) {
  const int64_t d = config.hidden_size, F = config.inner_size;
  const double deviation = config.initializer_deviation;
  const double rescaled = deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
  const std::string h = absl::StrCat("transformer.h.", layer, ".");
  AddNorm(h + "ln_1", d, parameters);
  AddProduct(h + "attn.c_attn", d, 3 * d, deviation, parameters);
  AddProduct(h + "attn.c_proj", d, d, rescaled, parameters);
  AddNorm(h + "ln_2", d, parameters);
  AddProduct(h + "mlp.c_fc", d, F, deviation, parameters);
  if (config.activation == kernels::Activation::kCRRelu) {
    const float epsilon = config.crrelu_epsilon_init.value_or(0.01f);
    parameters.push_back({h + "mlp.act.lr",
                          {1},
                          Role::kScalar,
                          Constant(epsilon),
                          config.crrelu_epsilon_init.has_value()});
  }
  AddProduct(h + "mlp.c_proj", F, d, rescaled, parameters);
}

}  // namespace

std::vector<ParameterSpec> Gpt2Parameters(const Gpt2Config& config) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  const Distribution normal = Normal(config.initializer_deviation);
  std::vector<ParameterSpec> parameters;
  parameters.push_back({"transformer.wte.weight", {V, d}, Role::kEmbedding, normal});
  parameters.push_back({"transformer.wpe.weight", {config.positions, d}, Role::kEmbedding, normal});
  for (int64_t layer = 0; layer < config.layers; ++layer) AddLayer(config, layer, parameters);
  AddNorm("transformer.ln_f", d, parameters);
  if (config.labels > 0) {
    parameters.push_back({"score.weight", {config.labels, d}, Role::kMatrix, normal, true});
  } else if (!config.tie_embeddings) {
    parameters.push_back({"lm_head.weight", {V, d}, Role::kMatrix, normal});
  }
  return parameters;
}

}  // namespace whipsnake::engine
