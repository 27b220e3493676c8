#include "engine/layers/mamba_mixer.h"

#include <cmath>

#include "engine/base/status.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/matmul/matmul.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::engine {

using kernels::MatrixView;

void MambaMixer::Forward(std::span<const MambaMixerRun> runs, MatrixView<const float> u,
                         const MambaMixerWorkspace& workspace, MatrixView<float> y) const {
  std::vector<kernels::ConvRun> conv_runs;
  std::vector<kernels::ScanRun> scan_runs;
  for (const MambaMixerRun& run : runs) {
    conv_runs.push_back({run.begin, run.length, run.conv_state});
    scan_runs.push_back({run.begin, run.length, run.scan_state});
  }
  const auto& [xz, conv, dbc, delta] = workspace;

  // [x;z] = W_in u
  kernels::Matmul(u, in_proj_.view(), in_proj_bias_.as<float>(), xz);
  const auto x = xz.Columns(0, E_), z = xz.Columns(E_, E_);

  // x_t = SiLU(b_c + Σ_k w_c,k · x_{t-W+1+k})
  kernels::CausalConv1dSilu(conv_runs, x, conv_weight_.as<float>(), conv_bias_.as<float>(), W_,
                            conv);

  // [δ;B;C] = W_x x
  kernels::Matmul(conv, x_proj_.view(), nullptr, dbc);
  const auto B = dbc.Columns(R_, N_), C = dbc.Columns(R_ + N_, N_);

  // Δ = softplus(W_dt δ + b_dt); the scan adds the bias and takes the softplus.
  kernels::Matmul(dbc.Columns(0, R_), dt_proj_.view(), nullptr, delta);

  // h_t = exp(Δ_t A)∘h_{t-1} + (Δ_t x_t) B_tᵀ
  // y_t = (h_t C_t + D∘x_t)∘SiLU(z_t)
  kernels::SelectiveScan(scan_runs, {.x = conv,
                                     .delta = delta,
                                     .delta_bias = dt_bias_.as<float>(),
                                     .a = A_.as<float>(),
                                     .b = B,
                                     .c = C,
                                     .d = D_.as<float>(),
                                     .z = z,
                                     .y = conv});

  // out = W_out y
  kernels::Matmul(conv, out_proj_.view(), out_proj_bias_.as<float>(), y);
}

absl::StatusOr<MambaMixer> MambaMixer::Load(WeightLoader& loader, const std::string& prefix,
                                            const MambaConfig& config) {
  const int64_t d = config.hidden_size, E = config.intermediate_size;
  const int64_t N = config.state_size, R = config.time_step_rank, W = config.conv_kernel;
  MambaMixer mixer;
  mixer.E_ = E;
  mixer.N_ = N;
  mixer.R_ = R;
  mixer.W_ = W;
  ASSIGN_OR_RETURN(mixer.in_proj_, loader.Matrix(prefix + "in_proj.weight", 2 * E, d));
  ASSIGN_OR_RETURN(mixer.conv_weight_,
                   loader.TransposedFloats(prefix + "conv1d.weight", {E, 1, W}));
  ASSIGN_OR_RETURN(mixer.x_proj_, loader.Matrix(prefix + "x_proj.weight", R + 2 * N, E));
  ASSIGN_OR_RETURN(mixer.dt_proj_, loader.Matrix(prefix + "dt_proj.weight", E, R));
  ASSIGN_OR_RETURN(mixer.dt_bias_, loader.Floats(prefix + "dt_proj.bias", {E}));
  ASSIGN_OR_RETURN(mixer.A_, loader.TransposedFloats(prefix + "A_log", {E, N},
                                                     [](float log) { return -std::exp(log); }));
  ASSIGN_OR_RETURN(mixer.D_, loader.Floats(prefix + "D", {E}));
  ASSIGN_OR_RETURN(mixer.out_proj_, loader.Matrix(prefix + "out_proj.weight", d, E));
  if (config.use_conv_bias) {
    ASSIGN_OR_RETURN(mixer.conv_bias_, loader.Floats(prefix + "conv1d.bias", {E}));
  }
  if (config.use_bias) {
    ASSIGN_OR_RETURN(mixer.in_proj_bias_, loader.Floats(prefix + "in_proj.bias", {2 * E}));
    ASSIGN_OR_RETURN(mixer.out_proj_bias_, loader.Floats(prefix + "out_proj.bias", {d}));
  }
  return mixer;
}

void MambaMixer::AppendWeights(std::vector<std::span<const std::byte>>& weights) const {
  for (const WeightMatrix* matrix : {&in_proj_, &x_proj_, &dt_proj_, &out_proj_}) {
    weights.push_back(matrix->bytes());
  }
  for (const Buffer* vector :
       {&in_proj_bias_, &conv_weight_, &conv_bias_, &dt_bias_, &A_, &D_, &out_proj_bias_}) {
    if (vector->size() > 0) weights.push_back(vector->bytes());
  }
}

int64_t MambaMixerWorkspace::FloatsPerRow(const MambaConfig& config) {
  return 4 * config.intermediate_size + config.time_step_rank + 2 * config.state_size;
}

MambaMixerWorkspace::MambaMixerWorkspace(const MambaConfig& config, int64_t rows, float* memory) {
  const auto take = [&](int64_t cols) {
    MatrixView<float> matrix(memory, rows, cols);
    memory += rows * cols;
    return matrix;
  };
  xz = take(2 * config.intermediate_size);
  conv = take(config.intermediate_size);
  delta = take(config.intermediate_size);
  dbc = take(config.time_step_rank + 2 * config.state_size);
}

}  // namespace whipsnake::engine
