#include "engine/models/mamba/float_mamba_block.h"

#include <cmath>

#include "engine/base/status.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

class FloatMambaBlock : public MambaBlock {
 public:
  FloatMambaBlock(const MambaConfig& config, int64_t layer, MambaObserver* observer)
      : E_(config.intermediate_size),
        N_(config.state_size),
        R_(config.time_step_rank),
        W_(config.conv_kernel),
        norm_epsilon_(config.norm_epsilon),
        layer_(layer),
        observer_(observer) {}

  absl::Status Load(WeightLoader& loader, const std::string& prefix, const MambaConfig& config,
                    kernels::DType type);

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
  struct Scratch {
    MatrixView<float> xz;     // [T,2E]
    MatrixView<float> conv;   // [T,E]
    MatrixView<float> dbc;    // [T,R+2N]
    MatrixView<float> delta;  // [T,E]
  };
  Scratch Lay(Arena& arena, int64_t rows) const {
    return {arena.Matrix<float>(rows, 2 * E_), arena.Matrix<float>(rows, E_),
            arena.Matrix<float>(rows, R_ + 2 * N_), arena.Matrix<float>(rows, E_)};
  }

  void Observe(const kernels::Context& context, MambaSite site,
               MatrixView<const float> values) const {
    if (observer_ != nullptr) observer_->Observe(context, layer_, site, values);
  }

  int64_t E_, N_, R_, W_;
  float norm_epsilon_;
  int64_t layer_;
  MambaObserver* observer_;
  Buffer norm_;            // γ[d]
  WeightMatrix in_proj_;   // [2E,d]: rows 0..E-1 make x, the rest z
  Buffer in_proj_bias_;    // [2E] or empty
  Buffer conv_weight_;     // [W,E]
  Buffer conv_bias_;       // [E] or empty
  WeightMatrix x_proj_;    // [R+2N,E]: δ, B, C
  WeightMatrix dt_proj_;   // [E,R]
  Buffer dt_bias_;         // [E]
  Buffer A_;               // [N,E] = -exp(A_log)
  Buffer D_;               // [E]
  WeightMatrix out_proj_;  // [d,E]
  Buffer out_proj_bias_;   // [d] or empty
};

void FloatMambaBlock::Forward(const kernels::Context& context, std::span<const MambaRun> runs,
                              MatrixView<const float> addend, MatrixView<float> residual,
                              Arena scratch, MatrixView<float> out) const {
  std::vector<kernels::ConvRun> conv_runs;
  std::vector<kernels::ScanRun> scan_runs;
  for (const MambaRun& run : runs) {
    conv_runs.push_back({run.begin, run.length, reinterpret_cast<float*>(run.conv_state)});
    scan_runs.push_back({run.begin, run.length, reinterpret_cast<float*>(run.scan_state)});
  }
  const auto [xz, conv, dbc, delta] = Lay(scratch, residual.rows);

  // u = γ ∘ RMSNorm(r)
  const MatrixView<float> u = out;
  kernels::ResidualRmsNorm(context, addend, residual, norm_.as<float>(), norm_epsilon_, u);
  Observe(context, MambaSite::kInput, u);

  // [x;z] = W_in u
  kernels::Matmul(context, u, in_proj_.view(), in_proj_bias_.as<float>(), xz);
  const auto x = xz.Columns(0, E_), z = xz.Columns(E_, E_);
  Observe(context, MambaSite::kConvInput, x);
  Observe(context, MambaSite::kGate, z);

  // x_t = SiLU(b_c + Σ_k w_c,k · x_{t-W+1+k})
  kernels::CausalConv1dSilu(context, conv_runs, x, conv_weight_.as<float>(), conv_bias_.as<float>(),
                            W_, conv);
  Observe(context, MambaSite::kX, conv);

  // [δ;B;C] = W_x x
  kernels::Matmul(context, conv, x_proj_.view(), nullptr, dbc);
  const auto rank = dbc.Columns(0, R_), B = dbc.Columns(R_, N_), C = dbc.Columns(R_ + N_, N_);
  Observe(context, MambaSite::kRank, rank);
  Observe(context, MambaSite::kB, B);
  Observe(context, MambaSite::kC, C);

  // Δ = softplus(W_dt δ + b_dt); the scan adds the bias and takes the softplus.
  kernels::Matmul(context, rank, dt_proj_.view(), nullptr, delta);
  Observe(context, MambaSite::kStep, delta);

  // h_t = exp(Δ_t A)∘h_{t-1} + (Δ_t x_t) B_tᵀ
  // y_t = (h_t C_t + D∘x_t)∘SiLU(z_t)
  kernels::SelectiveScan(context, scan_runs,
                         {.x = conv,
                          .delta = delta,
                          .delta_bias = dt_bias_.as<float>(),
                          .a = A_.as<float>(),
                          .b = B,
                          .c = C,
                          .d = D_.as<float>(),
                          .z = z,
                          .y = conv});
  Observe(context, MambaSite::kOutput, conv);
  for (const kernels::ScanRun& run : scan_runs) {
    Observe(context, MambaSite::kState, MatrixView<const float>(run.state, N_, E_));
  }

  // out = W_out y
  kernels::Matmul(context, conv, out_proj_.view(), out_proj_bias_.as<float>(), out);
}

absl::Status FloatMambaBlock::Load(WeightLoader& loader, const std::string& prefix,
                                   const MambaConfig& config, kernels::DType type) {
  const int64_t d = config.hidden_size;
  const std::string mixer = prefix + "mixer.";
  ASSIGN_OR_RETURN(norm_, loader.Floats(prefix + "norm.weight", {d}));
  ASSIGN_OR_RETURN(in_proj_, loader.Matrix(mixer + "in_proj.weight", 2 * E_, d, type));
  ASSIGN_OR_RETURN(conv_weight_, loader.TransposedFloats(mixer + "conv1d.weight", {E_, 1, W_}));
  ASSIGN_OR_RETURN(x_proj_, loader.Matrix(mixer + "x_proj.weight", R_ + 2 * N_, E_, type));
  ASSIGN_OR_RETURN(dt_proj_, loader.Matrix(mixer + "dt_proj.weight", E_, R_, type));
  ASSIGN_OR_RETURN(dt_bias_, loader.Floats(mixer + "dt_proj.bias", {E_}));
  ASSIGN_OR_RETURN(A_, loader.TransposedFloats(mixer + "A_log", {E_, N_},
                                               [](float log) { return -std::exp(log); }));
  ASSIGN_OR_RETURN(D_, loader.Floats(mixer + "D", {E_}));
  ASSIGN_OR_RETURN(out_proj_, loader.Matrix(mixer + "out_proj.weight", d, E_, type));
  if (config.use_conv_bias) {
    ASSIGN_OR_RETURN(conv_bias_, loader.Floats(mixer + "conv1d.bias", {E_}));
  }
  if (config.use_bias) {
    ASSIGN_OR_RETURN(in_proj_bias_, loader.Floats(mixer + "in_proj.bias", {2 * E_}));
    ASSIGN_OR_RETURN(out_proj_bias_, loader.Floats(mixer + "out_proj.bias", {d}));
  }
  return absl::OkStatus();
}

void FloatMambaBlock::AppendWeights(std::vector<std::span<const std::byte>>& weights) const {
  for (const WeightMatrix* matrix : {&in_proj_, &x_proj_, &dt_proj_, &out_proj_}) {
    weights.push_back(matrix->bytes());
  }
  for (const Buffer* vector :
       {&norm_, &in_proj_bias_, &conv_weight_, &conv_bias_, &dt_bias_, &A_, &D_, &out_proj_bias_}) {
    if (vector->size() > 0) weights.push_back(vector->bytes());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<MambaBlock>> LoadFloatMambaBlock(WeightLoader& loader,
                                                                const std::string& prefix,
                                                                const MambaConfig& config,
                                                                kernels::DType type, int64_t layer,
                                                                MambaObserver* observer) {
  auto block = std::make_unique<FloatMambaBlock>(config, layer, observer);
  RETURN_IF_ERROR(block->Load(loader, prefix, config, type));
  return block;
}

}  // namespace whipsnake::engine
