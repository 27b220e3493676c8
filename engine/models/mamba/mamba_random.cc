#include "engine/models/mamba/mamba_random.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// A_log of A = -(1, 2, ..., N) in every channel: S4D's real initialization (Gu et al., arXiv
// 2206.11893).
Distribution LogOfStateIndex(int64_t state_size) {
  return DistributionOf([state_size](const Randomness&, int64_t i) {
    return static_cast<float>(std::log(static_cast<double>(i % state_size + 1)));
  });
}

// The inverse softplus of a time step that is log-uniform between the config's bounds, so that the
// time steps start there (Gu, Dao: Mamba, arXiv 2312.00752, section 3.6).
Distribution TimeStepBias(const MambaConfig::Initialization& initialization) {
  const double low = std::log(initialization.time_step_min);
  const double high = std::log(initialization.time_step_max);
  return DistributionOf(
      [=, floor = initialization.time_step_floor](const Randomness& random, int64_t i) {
        const double share = static_cast<double>(random.Bits(i) >> 11) * 0x1p-53;
        const double step = std::max(std::exp(low + share * (high - low)), floor);
        return static_cast<float>(step + std::log(-std::expm1(-step)));
      });
}

void AddLayer(const MambaConfig& config, int64_t layer, RandomTensors& tensors) {
  const int64_t d = config.hidden_size, E = config.intermediate_size, N = config.state_size;
  const int64_t R = config.time_step_rank, W = config.conv_kernel;
  const MambaConfig::Initialization& initialization = config.initialization;
  const std::string prefix = absl::StrCat("backbone.layers.", layer, ".");
  const std::string mixer = prefix + "mixer.";
  const double rescale =
      initialization.rescale_out_proj ? 1 / std::sqrt(static_cast<double>(config.layers)) : 1;

  tensors.Add(prefix + "norm.weight", {d}, Same(1));
  tensors.Add(mixer + "in_proj.weight", {2 * E, d}, UniformOf(d));
  if (config.use_bias) tensors.Add(mixer + "in_proj.bias", {2 * E}, UniformOf(d));
  tensors.Add(mixer + "conv1d.weight", {E, 1, W}, UniformOf(W));
  if (config.use_conv_bias) tensors.Add(mixer + "conv1d.bias", {E}, UniformOf(W));
  tensors.Add(mixer + "x_proj.weight", {R + 2 * N, E}, UniformOf(E));
  tensors.Add(mixer + "dt_proj.weight", {E, R},
              Uniform(initialization.time_step_scale / std::sqrt(static_cast<double>(R))));
  tensors.Add(mixer + "dt_proj.bias", {E}, TimeStepBias(initialization));
  tensors.Add(mixer + "A_log", {E, N}, LogOfStateIndex(N));
  tensors.Add(mixer + "D", {E}, Same(1));
  tensors.Add(mixer + "out_proj.weight", {d, E},
              Uniform(rescale / std::sqrt(static_cast<double>(E))));
  if (config.use_bias) tensors.Add(mixer + "out_proj.bias", {d}, UniformOf(E));
}

}  // namespace

void AddRandomTensors(const MambaConfig& config, RandomTensors& tensors) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  tensors.Add(config.original_form ? "backbone.embedding.weight" : "backbone.embeddings.weight",
              {V, d}, Normal(config.initialization.embedding_deviation));
  for (int64_t layer = 0; layer < config.layers; ++layer) AddLayer(config, layer, tensors);
  tensors.Add("backbone.norm_f.weight", {d}, Same(1));
  if (!config.tie_embeddings) tensors.Add("lm_head.weight", {V, d}, UniformOf(d));
}

}  // namespace whipsnake::engine
