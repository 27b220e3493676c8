#include "engine/models/gpt2/gpt2_random.h"

#include <cmath>
#include <string>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Drawn as in GPT-2: normal, with the outputs to the residual stream divided by the square root of
// their number (Radford et al., Language Models are Unsupervised Multitask Learners, section 2.3).
void AddLayer(const Gpt2Config& config, int64_t layer, RandomTensors& tensors) {
  const int64_t d = config.hidden_size, F = config.inner_size;
  const double deviation = config.initializer_deviation;
  const double rescaled = deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
  const std::string prefix = absl::StrCat("transformer.h.", layer, ".");
  const auto add_product = [&](const std::string& name, int64_t in, int64_t out, double drawn) {
    tensors.Add(prefix + name + ".weight", {in, out}, Normal(drawn));
    tensors.Add(prefix + name + ".bias", {out}, Same(0));
  };
  const auto add_norm = [&](const std::string& name) {
    tensors.Add(prefix + name + ".weight", {d}, Same(1));
    tensors.Add(prefix + name + ".bias", {d}, Same(0));
  };
  add_norm("ln_1");
  add_product("attn.c_attn", d, 3 * d, deviation);
  add_product("attn.c_proj", d, d, rescaled);
  add_norm("ln_2");
  add_product("mlp.c_fc", d, F, deviation);
  if (config.activation == kernels::Activation::kCRRelu) {
    tensors.Add(prefix + "mlp.act.lr", {1}, Same(config.crrelu_epsilon_init.value_or(0.01f)));
  }
  add_product("mlp.c_proj", F, d, rescaled);
}

}  // namespace

void AddRandomTensors(const Gpt2Config& config, RandomTensors& tensors) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  const Distribution normal = Normal(config.initializer_deviation);
  tensors.Add("transformer.wte.weight", {V, d}, normal);
  tensors.Add("transformer.wpe.weight", {config.positions, d}, normal);
  for (int64_t layer = 0; layer < config.layers; ++layer) AddLayer(config, layer, tensors);
  tensors.Add("transformer.ln_f.weight", {d}, Same(1));
  tensors.Add("transformer.ln_f.bias", {d}, Same(0));
  if (config.labels > 0) {
    tensors.Add("score.weight", {config.labels, d}, normal);
  } else if (!config.tie_embeddings) {
    tensors.Add("lm_head.weight", {V, d}, normal);
  }
}

}  // namespace whipsnake::engine
