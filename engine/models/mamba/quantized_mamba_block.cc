#include "engine/models/mamba/quantized_mamba_block.h"

#include <cmath>

#include "engine/base/status.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/quantized_matmul/quantized_matmul.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using kernels::MatrixView;

class QuantizedMambaBlock : public MambaBlock {
 public:
  QuantizedMambaBlock(const MambaConfig& config, DType scan_state)
      : d_(config.hidden_size),
        E_(config.intermediate_size),
        N_(config.state_size),
        R_(config.time_step_rank),
        W_(config.conv_kernel),
        norm_epsilon_(config.norm_epsilon),
        rotated_(config.quantization->output_rotation),
        scan_state_(scan_state) {}

  absl::Status Load(WeightLoader& loader, const std::string& prefix, const MambaConfig& config);

  void Forward(const kernels::Context& context, std::span<const MambaRun> runs,
               MatrixView<const float> addend, MatrixView<float> residual, Arena scratch,
               MatrixView<float> out) const override;
  int64_t ScratchBytes(int64_t rows) const override {
    Arena arena;
    Lay(arena, rows);
    return arena.bytes();
  }
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const override;

 private:
  // A linear layer's codes and the multipliers of its sums.
  struct Linear {
    WeightMatrix weight;
    Buffer multiplier;
    Buffer bias;  // in units of the output, or empty

    template <typename T>
    void operator()(const kernels::Context& context, MatrixView<const int8_t> x,
                    MatrixView<T> y) const {
      kernels::QuantizedMatmul(context, x, weight.view(),
                               {multiplier.as<float>(), bias.as<float>()}, y);
    }
  };

  struct Scratch {
    MatrixView<int8_t> u;      // [T,d]
    MatrixView<int8_t> xz;     // [T,2E]
    MatrixView<int8_t> x;      // [T,E]
    MatrixView<int8_t> dbc;    // [T,R+2N]
    MatrixView<int8_t> delta;  // [T,E]
    MatrixView<float> y;       // [T,E]
    MatrixView<int8_t> y8;     // [T,E]
  };
  Scratch Lay(Arena& arena, int64_t rows) const {
    return {arena.Matrix<int8_t>(rows, d_), arena.Matrix<int8_t>(rows, 2 * E_),
            arena.Matrix<int8_t>(rows, E_), arena.Matrix<int8_t>(rows, R_ + 2 * N_),
            arena.Matrix<int8_t>(rows, E_), arena.Matrix<float>(rows, E_),
            arena.Matrix<int8_t>(rows, E_)};
  }

  absl::Status LoadInProj(WeightLoader& loader, const std::string& mixer, bool use_bias);
  absl::Status LoadConv(WeightLoader& loader, const std::string& mixer, bool use_bias);
  absl::Status LoadXProj(WeightLoader& loader, const std::string& mixer);
  absl::Status LoadScan(WeightLoader& loader, const std::string& mixer);
  absl::Status LoadOutProj(WeightLoader& loader, const std::string& mixer, bool use_bias);

  int64_t d_, E_, N_, R_, W_;
  float norm_epsilon_;
  bool rotated_;
  DType scan_state_;

  Buffer norm_;                             // γ[d] / s_u
  Linear in_proj_;                          // [2E,d]
  Buffer conv_weight_;                      // codes [W,E]
  Buffer conv_multiplier_;                  // [E]
  Buffer conv_bias_;                        // [E] or empty
  Buffer conv_output_;                      // [E] = 1 / x's scale
  Linear x_proj_;                           // [R+2N,E]
  Linear dt_proj_;                          // [E,R]
  Buffer dt_bias_;                          // [E]
  Buffer A_;                                // [N,E] = -exp(A_log)
  Buffer D_;                                // [E]
  Buffer x_scale_, delta_scale_, z_scale_;  // [E]
  Buffer b_scale_, c_scale_, state_scale_;  // [N]
  float rotation_scale_ = 0;                // 1 / (√E s_y)
  Buffer y_multiplier_;                     // [E] = 1 / y's scale, without a rotation
  Linear out_proj_;                         // [d,E]
};

void QuantizedMambaBlock::Forward(const kernels::Context& context, std::span<const MambaRun> runs,
                                  MatrixView<const float> addend, MatrixView<float> residual,
                                  Arena scratch, MatrixView<float> out) const {
  std::vector<kernels::QuantizedConvRun> conv_runs;
  std::vector<kernels::QuantizedScanRun> scan_runs;
  for (const MambaRun& run : runs) {
    conv_runs.push_back({run.begin, run.length, reinterpret_cast<int8_t*>(run.conv_state)});
    scan_runs.push_back({run.begin, run.length, run.scan_state});
  }
  const auto [u, xz, x, dbc, delta, y, y8] = Lay(scratch, residual.rows);

  // u = γ ∘ RMSNorm(r)
  kernels::ResidualRmsNorm(context, addend, residual, norm_.as<float>(), norm_epsilon_, u);

  // [x;z] = W_in u
  in_proj_(context, u, xz);
  const auto z = xz.Columns(E_, E_);

  // x_t = SiLU(b_c + Σ_k w_c,k · x_{t-W+1+k})
  kernels::CausalConv1dSilu(context, conv_runs,
                            {.x = xz.Columns(0, E_),
                             .weight = conv_weight_.as<int8_t>(),
                             .multiplier = conv_multiplier_.as<float>(),
                             .bias = conv_bias_.as<float>(),
                             .width = W_,
                             .output_multiplier = conv_output_.as<float>(),
                             .y = x});

  // [δ;B;C] = W_x x
  x_proj_(context, x, dbc);
  const auto rank = dbc.Columns(0, R_), B = dbc.Columns(R_, N_), C = dbc.Columns(R_ + N_, N_);

  // Δ = softplus(W_dt δ + b_dt); the scan adds the bias and takes the softplus.
  dt_proj_(context, rank, delta);

  // h_t = exp(Δ_t A)∘h_{t-1} + (Δ_t x_t) B_tᵀ
  // y_t = (h_t C_t + D∘x_t)∘SiLU(z_t)
  kernels::SelectiveScan(context, scan_runs,
                         {.x = {x, x_scale_.as<float>()},
                          .delta = {delta, delta_scale_.as<float>()},
                          .delta_bias = dt_bias_.as<float>(),
                          .a = A_.as<float>(),
                          .b = {B, b_scale_.as<float>()},
                          .c = {C, c_scale_.as<float>()},
                          .d = D_.as<float>(),
                          .z = {z, z_scale_.as<float>()},
                          .state_dtype = scan_state_,
                          .state_scale = state_scale_.as<float>(),
                          .y = y});

  // out = W_out y. With an output rotation, which spreads the outliers of y, both are rotated:
  // (W_out Hᵀ/√E) (H y/√E)
  if (rotated_) {
    kernels::Hadamard(context, y, rotation_scale_, y8);
  } else {
    kernels::Quantize(context, y, y_multiplier_.as<float>(), y8);
  }
  out_proj_(context, y8, out);
}

absl::Status QuantizedMambaBlock::Load(WeightLoader& loader, const std::string& prefix,
                                       const MambaConfig& config) {
  const std::string mixer = prefix + "mixer.";
  const int64_t norm_shape[] = {d_};
  ASSIGN_OR_RETURN(const float input_scale, loader.Scale(mixer + "in_proj.input_scale"));
  ASSIGN_OR_RETURN(const std::vector<float> norm,
                   loader.Values(prefix + "norm.weight", norm_shape));
  ASSIGN_OR_RETURN(norm_, loader.Derived(prefix + "norm.weight", d_,
                                         [&](int64_t i) { return norm[i] / input_scale; }));
  RETURN_IF_ERROR(LoadInProj(loader, mixer, config.use_bias));
  RETURN_IF_ERROR(LoadConv(loader, mixer, config.use_conv_bias));
  RETURN_IF_ERROR(LoadXProj(loader, mixer));
  RETURN_IF_ERROR(LoadScan(loader, mixer));
  return LoadOutProj(loader, mixer, config.use_bias);
}

absl::Status QuantizedMambaBlock::LoadInProj(WeightLoader& loader, const std::string& mixer,
                                             bool use_bias) {
  const std::string name = mixer + "in_proj.weight";
  ASSIGN_OR_RETURN(in_proj_.weight, loader.Matrix(name, 2 * E_, d_, DType::kI8));
  ASSIGN_OR_RETURN(const auto weight, loader.Scales(ScaleName(name), 2 * E_));
  ASSIGN_OR_RETURN(const float input, loader.Scale(mixer + "in_proj.input_scale"));
  ASSIGN_OR_RETURN(const auto x, loader.Scales(mixer + "conv1d.input_scale", E_));
  ASSIGN_OR_RETURN(const auto z, loader.Scales(mixer + "gate_scale", E_));
  const auto output = [&](int64_t n) { return n < E_ ? x[n] : z[n - E_]; };
  ASSIGN_OR_RETURN(in_proj_.multiplier, loader.Derived(name, 2 * E_, [&](int64_t n) {
    return input * weight[n] / output(n);
  }));
  ASSIGN_OR_RETURN(z_scale_,
                   loader.Derived(mixer + "gate_scale", E_, [&](int64_t e) { return z[e]; }));
  if (!use_bias) return absl::OkStatus();
  const int64_t bias_shape[] = {2 * E_};
  ASSIGN_OR_RETURN(const auto bias, loader.Values(mixer + "in_proj.bias", bias_shape));
  ASSIGN_OR_RETURN(in_proj_.bias, loader.Derived(mixer + "in_proj.bias", 2 * E_,
                                                 [&](int64_t n) { return bias[n] / output(n); }));
  return absl::OkStatus();
}

absl::Status QuantizedMambaBlock::LoadConv(WeightLoader& loader, const std::string& mixer,
                                           bool use_bias) {
  const std::string name = mixer + "conv1d.weight";
  ASSIGN_OR_RETURN(conv_weight_, loader.TransposedCodes(name, {E_, 1, W_}));
  ASSIGN_OR_RETURN(const auto weight, loader.Scales(ScaleName(name), E_));
  ASSIGN_OR_RETURN(const auto input, loader.Scales(mixer + "conv1d.input_scale", E_));
  ASSIGN_OR_RETURN(conv_multiplier_,
                   loader.Derived(name, E_, [&](int64_t e) { return input[e] * weight[e]; }));
  if (use_bias) {
    ASSIGN_OR_RETURN(conv_bias_, loader.Floats(mixer + "conv1d.bias", {E_}));
  }
  const std::string smoothing_name = mixer + "x_proj.input_smoothing";
  ASSIGN_OR_RETURN(const float x, loader.Scale(mixer + "x_proj.input_scale"));
  std::vector<float> smoothing(E_, 1.0f);
  if (loader.checkpoint().Contains(smoothing_name)) {
    ASSIGN_OR_RETURN(smoothing, loader.Scales(smoothing_name, E_));
  }
  ASSIGN_OR_RETURN(x_scale_,
                   loader.Derived(smoothing_name, E_, [&](int64_t e) { return x * smoothing[e]; }));
  ASSIGN_OR_RETURN(conv_output_, loader.Derived(smoothing_name, E_, [&](int64_t e) {
    return 1.0f / (x * smoothing[e]);
  }));
  return absl::OkStatus();
}

absl::Status QuantizedMambaBlock::LoadXProj(WeightLoader& loader, const std::string& mixer) {
  const std::string name = mixer + "x_proj.weight";
  ASSIGN_OR_RETURN(x_proj_.weight, loader.Matrix(name, R_ + 2 * N_, E_, DType::kI8));
  ASSIGN_OR_RETURN(const auto weight, loader.Scales(ScaleName(name), R_ + 2 * N_));
  ASSIGN_OR_RETURN(const float input, loader.Scale(mixer + "x_proj.input_scale"));
  ASSIGN_OR_RETURN(const float rank, loader.Scale(mixer + "dt_proj.input_scale"));
  ASSIGN_OR_RETURN(const auto b, loader.Scales(mixer + "B_scale", N_));
  ASSIGN_OR_RETURN(const auto c, loader.Scales(mixer + "C_scale", N_));
  const auto output = [&](int64_t n) {
    return n < R_ ? rank : n < R_ + N_ ? b[n - R_] : c[n - R_ - N_];
  };
  ASSIGN_OR_RETURN(x_proj_.multiplier, loader.Derived(name, R_ + 2 * N_, [&](int64_t n) {
    return input * weight[n] / output(n);
  }));
  ASSIGN_OR_RETURN(b_scale_,
                   loader.Derived(mixer + "B_scale", N_, [&](int64_t n) { return b[n]; }));
  ASSIGN_OR_RETURN(c_scale_,
                   loader.Derived(mixer + "C_scale", N_, [&](int64_t n) { return c[n]; }));
  return absl::OkStatus();
}

absl::Status QuantizedMambaBlock::LoadScan(WeightLoader& loader, const std::string& mixer) {
  const std::string name = mixer + "dt_proj.weight";
  ASSIGN_OR_RETURN(dt_proj_.weight, loader.Matrix(name, E_, R_, DType::kI8));
  ASSIGN_OR_RETURN(const auto weight, loader.Scales(ScaleName(name), E_));
  ASSIGN_OR_RETURN(const float rank, loader.Scale(mixer + "dt_proj.input_scale"));
  ASSIGN_OR_RETURN(const auto step, loader.Scales(mixer + "dt_proj.output_scale", E_));
  ASSIGN_OR_RETURN(dt_proj_.multiplier,
                   loader.Derived(name, E_, [&](int64_t e) { return rank * weight[e] / step[e]; }));
  ASSIGN_OR_RETURN(delta_scale_, loader.Derived(mixer + "dt_proj.output_scale", E_,
                                                [&](int64_t e) { return step[e]; }));
  ASSIGN_OR_RETURN(dt_bias_, loader.Floats(mixer + "dt_proj.bias", {E_}));
  ASSIGN_OR_RETURN(A_, loader.TransposedFloats(mixer + "A_log", {E_, N_},
                                               [](float log) { return -std::exp(log); }));
  ASSIGN_OR_RETURN(D_, loader.Floats(mixer + "D", {E_}));
  ASSIGN_OR_RETURN(const auto state, loader.Scales(mixer + "state_scale", N_));
  if (scan_state_ == DType::kI8) {
    ASSIGN_OR_RETURN(state_scale_, loader.Derived(mixer + "state_scale", N_,
                                                  [&](int64_t n) { return state[n]; }));
  }
  return absl::OkStatus();
}

absl::Status QuantizedMambaBlock::LoadOutProj(WeightLoader& loader, const std::string& mixer,
                                              bool use_bias) {
  const std::string name = mixer + "out_proj.weight";
  const std::string smoothing_name = mixer + "out_proj.input_smoothing";
  ASSIGN_OR_RETURN(out_proj_.weight, loader.Matrix(name, d_, E_, DType::kI8));
  ASSIGN_OR_RETURN(const auto weight, loader.Scales(ScaleName(name), d_));
  ASSIGN_OR_RETURN(const float input, loader.Scale(mixer + "out_proj.input_scale"));
  ASSIGN_OR_RETURN(out_proj_.multiplier,
                   loader.Derived(name, d_, [&](int64_t n) { return input * weight[n]; }));
  if (use_bias) {
    ASSIGN_OR_RETURN(out_proj_.bias, loader.Floats(mixer + "out_proj.bias", {d_}));
  }
  if (rotated_) {
    if (loader.checkpoint().Contains(smoothing_name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(smoothing_name),
                       " seen, expected none with quantization_config.output_rotation"));
    }
    rotation_scale_ = 1.0f / (std::sqrt(static_cast<float>(E_)) * input);
    return absl::OkStatus();
  }
  std::vector<float> smoothing(E_, 1.0f);
  if (loader.checkpoint().Contains(smoothing_name)) {
    ASSIGN_OR_RETURN(smoothing, loader.Scales(smoothing_name, E_));
  }
  ASSIGN_OR_RETURN(y_multiplier_, loader.Derived(smoothing_name, E_, [&](int64_t e) {
    return 1.0f / (input * smoothing[e]);
  }));
  return absl::OkStatus();
}

void QuantizedMambaBlock::AppendWeights(std::vector<std::span<const std::byte>>& weights) const {
  for (const Linear* linear : {&in_proj_, &x_proj_, &dt_proj_, &out_proj_}) {
    weights.push_back(linear->weight.bytes());
    weights.push_back(linear->multiplier.bytes());
    if (linear->bias.size() > 0) weights.push_back(linear->bias.bytes());
  }
  for (const Buffer* vector :
       {&norm_, &conv_weight_, &conv_multiplier_, &conv_bias_, &conv_output_, &dt_bias_, &A_, &D_,
        &x_scale_, &delta_scale_, &z_scale_, &b_scale_, &c_scale_, &state_scale_, &y_multiplier_}) {
    if (vector->size() > 0) weights.push_back(vector->bytes());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<MambaBlock>> LoadQuantizedMambaBlock(WeightLoader& loader,
                                                                    const std::string& prefix,
                                                                    const MambaConfig& config,
                                                                    DType scan_state) {
  if (config.quantization->output_rotation && !kernels::HasHadamard(config.intermediate_size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "intermediate_size: ", config.intermediate_size,
        " seen, expected 2^k, 12 * 2^k or 40 * 2^k for quantization_config.output_rotation"));
  }
  auto block = std::make_unique<QuantizedMambaBlock>(config, scan_state);
  RETURN_IF_ERROR(block->Load(loader, prefix, config));
  return block;
}

}  // namespace whipsnake::engine
