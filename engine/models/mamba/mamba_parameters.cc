#include "engine/models/mamba/mamba_parameters.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using Role = ParameterRole;

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

void AddLayer(const MambaConfig& config, int64_t layer, std::vector<ParameterSpec>& parameters) {
  const int64_t d = config.hidden_size, E = config.intermediate_size, N = config.state_size;
  const int64_t R = config.time_step_rank, W = config.conv_kernel;
  const MambaConfig::Initialization& initialization = config.initialization;
  const std::string prefix = absl::StrCat("backbone.layers.", layer, ".");
  const double step = initialization.time_step_scale / std::sqrt(static_cast<double>(R));
  const double rescale =
      initialization.rescale_out_proj ? 1 / std::sqrt(static_cast<double>(config.layers)) : 1;
  const double out = rescale / std::sqrt(static_cast<double>(E));
  const auto add = [&](const char* name, std::vector<int64_t> shape, Role role,
                       Distribution initial) {
    parameters.push_back({prefix + name, std::move(shape), role, std::move(initial)});
  };
  add("norm.weight", {d}, Role::kNormScale, Constant(1));
  add("mixer.in_proj.weight", {2 * E, d}, Role::kMatrix, UniformOf(d));
  if (config.use_bias) add("mixer.in_proj.bias", {2 * E}, Role::kBias, UniformOf(d));
  add("mixer.conv1d.weight", {E, 1, W}, Role::kConvolution, UniformOf(W));
  if (config.use_conv_bias) add("mixer.conv1d.bias", {E}, Role::kBias, UniformOf(W));
  add("mixer.x_proj.weight", {R + 2 * N, E}, Role::kMatrix, UniformOf(E));
  add("mixer.dt_proj.weight", {E, R}, Role::kMatrix, Uniform(step));
  add("mixer.dt_proj.bias", {E}, Role::kBias, TimeStepBias(initialization));
  add("mixer.A_log", {E, N}, Role::kRecurrence, LogOfStateIndex(N));
  add("mixer.D", {E}, Role::kRecurrence, Constant(1));
  add("mixer.out_proj.weight", {d, E}, Role::kMatrix, Uniform(out));
  if (config.use_bias) add("mixer.out_proj.bias", {d}, Role::kBias, UniformOf(E));
}

}  // namespace

std::vector<ParameterSpec> MambaParameters(const MambaConfig& config) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  std::vector<ParameterSpec> parameters;
  parameters.push_back(
      {config.original_form ? "backbone.embedding.weight" : "backbone.embeddings.weight",
       {V, d},
       Role::kEmbedding,
       Normal(config.initialization.embedding_deviation)});
  for (int64_t layer = 0; layer < config.layers; ++layer) AddLayer(config, layer, parameters);
  parameters.push_back({"backbone.norm_f.weight", {d}, Role::kNormScale, Constant(1)});
  if (config.labels > 0) {
    parameters.push_back({"score.weight", {config.labels, d}, Role::kMatrix, UniformOf(d), true});
  } else if (!config.tie_embeddings) {
    parameters.push_back({"lm_head.weight", {V, d}, Role::kMatrix, UniformOf(d)});
  }
  return parameters;
}

}  // namespace whipsnake::engine
