#include "engine/models/mamba/trainable_mamba_block.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/layers/training/trainable_linear.h"
#include "engine/layers/training/trainable_norm.h"
#include "kernels/addition/addition.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

// to[j,i] = map(from[i,j])
template <typename Map>
void Transpose(MatrixView<const float> from, float* to, const Map& map) {
  for (int64_t i = 0; i < from.rows; ++i) {
    for (int64_t j = 0; j < from.cols; ++j) to[j * from.rows + i] = map(from.row(i)[j]);
  }
}

// to[i,j] += value(j,i), for to[rows,cols]
template <typename Value>
void AddTransposed(int64_t rows, int64_t cols, float* to, const Value& value) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) to[i * cols + j] += value(j, i);
  }
}

class TrainableMambaBlock : public TrainableBlock {
 public:
  explicit TrainableMambaBlock(const MambaConfig& config)
      : E_(config.intermediate_size),
        N_(config.state_size),
        R_(config.time_step_rank),
        W_(config.conv_kernel) {}

  absl::Status Make(TrainableParameters& parameters, const std::string& prefix,
                    const MambaConfig& config);

  absl::StatusOr<Tensor> Forward(TrainingPass& pass, Tensor x) const override;
  absl::Status Backward(TrainingPass& pass, MatrixView<float> g) const override;

 private:
  // The convolution's weight as [W,E].
  absl::StatusOr<Tensor> ConvolutionWeight(const TrainingPass& pass) const;
  // x[T,E] after the convolution, for xz[T,2E].
  absl::StatusOr<Tensor> Convolve(const TrainingPass& pass, const Tensor& xz) const;
  // gx = the derivative for its input, for the derivative g of its output.
  absl::Status ConvolveBackward(TrainingPass& pass, const Tensor& xz, MatrixView<const float> g,
                                MatrixView<float> gx) const;

  // What the scan reads, and the states that it keeps.
  struct ScanInputs {
    Tensor xz;      // [T,2E], of which it reads z
    Tensor x;       // [T,E], after the convolution
    Tensor dbc;     // [T,R+2N]: δ, B, C
    Tensor delta;   // [T,E], before the bias
    Tensor states;  // [chunks,N·E]
  };
  absl::StatusOr<Tensor> A(const TrainingPass& pass) const;  // [N,E] = -exp(A_log)
  kernels::SelectiveScanOperands Operands(const ScanInputs& inputs, const Tensor& a) const;
  PassCost ScanCost(const Tensor& x) const;
  // Returns y[T,E] and sets the inputs' states.
  absl::StatusOr<Tensor> Scan(const TrainingPass& pass, ScanInputs& inputs) const;
  // Saves the inputs.
  absl::Status SaveScan(const TrainingPass& pass, const ScanInputs& inputs) const;
  // Takes them back, and computes again what was dropped from what was not.
  absl::StatusOr<ScanInputs> TakeScan(const TrainingPass& pass) const;
  // Writes the matrices of `gradients`, for the derivative g of the scan's output.
  absl::Status ScanBackward(TrainingPass& pass, const ScanInputs& inputs, MatrixView<const float> g,
                            kernels::SelectiveScanGradients gradients) const;

  const int64_t E_, N_, R_, W_;
  TrainableNorm norm_;
  TrainableLinear in_proj_;                    // [2E,d]
  TrainableLinear x_proj_;                     // [R+2N,E]
  TrainableLinear dt_proj_;                    // [E,R]; the scan adds its bias
  TrainableLinear out_proj_;                   // [d,E]
  TrainableParameter* conv_weight_ = nullptr;  // [E,1,W]
  TrainableParameter* conv_bias_ = nullptr;    // [E] or null
  TrainableParameter* dt_bias_ = nullptr;      // [E]
  TrainableParameter* a_log_ = nullptr;        // [E,N]
  TrainableParameter* d_ = nullptr;            // [E]
  int64_t conv_layer_ = 0;                     // the number of its layer
};

absl::Status TrainableMambaBlock::Make(TrainableParameters& parameters, const std::string& prefix,
                                       const MambaConfig& config) {
  const auto linear = [&](const char* name, bool bias, TensorClass input,
                          TensorClass held_as = TensorClass::kTransient) {
    return TrainableLinear::Make(parameters, prefix + "mixer." + name,
                                 {.bias = bias, .input = input, .held_as = held_as});
  };
  const auto use = [&](const char* name) { return parameters.Use(prefix + "mixer." + name); };
  const auto layer = [&](const char* name, std::vector<TrainableParameter*> of_layer) {
    return parameters.AddLayer(
        {.name = prefix + "mixer." + name, .parameters = std::move(of_layer)});
  };
  ASSIGN_OR_RETURN(
      norm_, TrainableNorm::Make(parameters, prefix + "norm", NormKind::kRms, config.norm_epsilon));
  ASSIGN_OR_RETURN(in_proj_, linear("in_proj", config.use_bias, TensorClass::kProductInput));
  ASSIGN_OR_RETURN(conv_weight_, use("conv1d.weight"));
  if (config.use_conv_bias) {
    ASSIGN_OR_RETURN(conv_bias_, use("conv1d.bias"));
  }
  conv_layer_ = layer("conv1d", {conv_weight_, conv_bias_});
  ASSIGN_OR_RETURN(x_proj_, linear("x_proj", /*bias=*/false, TensorClass::kInnerProductInput,
                                   TensorClass::kScan));
  ASSIGN_OR_RETURN(dt_proj_, linear("dt_proj", /*bias=*/false, TensorClass::kProductInput,
                                    TensorClass::kScanParameters));
  ASSIGN_OR_RETURN(dt_bias_, use("dt_proj.bias"));
  parameters.AddToLayer(dt_proj_.layer(), dt_bias_);
  ASSIGN_OR_RETURN(a_log_, use("A_log"));
  ASSIGN_OR_RETURN(d_, use("D"));
  layer("A_log", {a_log_, d_});
  ASSIGN_OR_RETURN(out_proj_, linear("out_proj", config.use_bias, TensorClass::kInnerProductInput));
  return absl::OkStatus();
}

absl::StatusOr<Tensor> TrainableMambaBlock::Forward(TrainingPass& pass, Tensor x) const {
  const int64_t T = x.rows(), d = x.view().cols;
  // [x;z] = W_in u,  u = γ ∘ RMSNorm(r)
  ScanInputs inputs;
  ASSIGN_OR_RETURN(inputs.xz, pass.New(T, 2 * E_));
  {
    ASSIGN_OR_RETURN(const Tensor u, norm_.Forward(pass, x));
    RETURN_IF_ERROR(in_proj_.Forward(pass, u, *inputs.xz));
  }

  // x_t = SiLU(b_c + Σ_k w_c,k · x_{t-W+1+k})
  ASSIGN_OR_RETURN(inputs.x, Convolve(pass, inputs.xz));

  // [δ;B;C] = W_x x
  ASSIGN_OR_RETURN(inputs.dbc, pass.New(T, R_ + 2 * N_));
  RETURN_IF_ERROR(x_proj_.Forward(pass, inputs.x, *inputs.dbc));

  // Δ = softplus(W_dt δ + b_dt); the scan adds the bias and takes the softplus.
  ASSIGN_OR_RETURN(inputs.delta, pass.New(T, E_));
  RETURN_IF_ERROR(dt_proj_.Forward(pass, inputs.dbc.Columns(0, R_), *inputs.delta));

  // h_t = exp(Δ_t A)∘h_{t-1} + (Δ_t x_t) B_tᵀ;  y_t = (h_t C_t + D∘x_t)∘SiLU(z_t)
  ASSIGN_OR_RETURN(const Tensor y, Scan(pass, inputs));
  if (pass.GoesBelow(out_proj_.layer())) RETURN_IF_ERROR(SaveScan(pass, inputs));
  inputs = {};

  // r' = r + W_out y
  ASSIGN_OR_RETURN(Tensor out, pass.New(T, d));
  RETURN_IF_ERROR(out_proj_.Forward(pass, y, *out));
  pass.Compute(PassCost::Numbers(3 * x.elements()),
               [&] { kernels::Add(pass.context, *out, *x, *out); });
  return out;
}

absl::Status TrainableMambaBlock::Backward(TrainingPass& pass, MatrixView<float> g) const {
  const int64_t T = g.rows;
  ASSIGN_OR_RETURN(const Tensor gxz, pass.New(T, 2 * E_));
  {
    ScanInputs inputs;
    ASSIGN_OR_RETURN(const Tensor gx, pass.New(T, E_));
    ASSIGN_OR_RETURN(const Tensor gdbc, pass.New(T, R_ + 2 * N_));
    {
      ASSIGN_OR_RETURN(const Tensor gy, pass.New(T, E_));
      RETURN_IF_ERROR(out_proj_.Backward(pass, g, *gy));
      if (!pass.GoesBelow(out_proj_.layer())) return absl::OkStatus();
      ASSIGN_OR_RETURN(inputs, TakeScan(pass));
      ASSIGN_OR_RETURN(const Tensor gdelta, pass.New(T, E_));
      RETURN_IF_ERROR(ScanBackward(pass, inputs, *gy,
                                   {.x = *gx,
                                    .delta = *gdelta,
                                    .b = gdbc.view().Columns(R_, N_),
                                    .c = gdbc.view().Columns(R_ + N_, N_),
                                    .z = gxz.view().Columns(E_, E_)}));
      RETURN_IF_ERROR(dt_proj_.Backward(pass, *gdelta, gdbc.view().Columns(0, R_)));
    }
    RETURN_IF_ERROR(x_proj_.Backward(pass, *gdbc, *gx, /*accumulate=*/true));
    if (!pass.GoesBelow(x_proj_.layer())) return absl::OkStatus();
    RETURN_IF_ERROR(ConvolveBackward(pass, inputs.xz, *gx, gxz.view().Columns(0, E_)));
  }
  if (!pass.GoesBelow(conv_layer_)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Tensor gu, pass.New(T, g.cols));
  RETURN_IF_ERROR(in_proj_.Backward(pass, *gxz, *gu));
  return norm_.Backward(pass, *gu, g);
}

absl::StatusOr<Tensor> TrainableMambaBlock::ConvolutionWeight(const TrainingPass& pass) const {
  ASSIGN_OR_RETURN(Tensor weight, pass.New(W_, E_));
  pass.Compute({}, [&] {
    Transpose({conv_weight_->data(), E_, W_}, weight.data(), [](float value) { return value; });
  });
  return weight;
}

absl::StatusOr<Tensor> TrainableMambaBlock::Convolve(const TrainingPass& pass,
                                                     const Tensor& xz) const {
  ASSIGN_OR_RETURN(const Tensor weight, ConvolutionWeight(pass));
  ASSIGN_OR_RETURN(const Tensor states, pass.New(std::ssize(pass.sequences), (W_ - 1) * E_));
  ASSIGN_OR_RETURN(Tensor x, pass.New(xz.rows(), E_));
  pass.Compute(PassCost::Numbers(2 * x.elements()), [&] {
    std::fill_n(states.data(), states.elements(), 0.0f);
    std::vector<kernels::ConvRun> runs;
    for (const kernels::RowRange& sequence : pass.sequences) {
      runs.push_back({sequence.begin, sequence.length, states.view().row(std::ssize(runs))});
    }
    kernels::CausalConv1dSilu(pass.context, runs, xz.view().Columns(0, E_), weight.data(),
                              conv_bias_ != nullptr ? conv_bias_->data() : nullptr, W_, *x);
  });
  return x;
}

absl::Status TrainableMambaBlock::ConvolveBackward(TrainingPass& pass, const Tensor& xz,
                                                   MatrixView<const float> g,
                                                   MatrixView<float> gx) const {
  ASSIGN_OR_RETURN(const Tensor weight, ConvolutionWeight(pass));
  ASSIGN_OR_RETURN(float* const gweight, pass.gradients->SumOf(pass.context, conv_weight_));
  ASSIGN_OR_RETURN(float* const gbias, pass.gradients->SumOf(pass.context, conv_bias_));
  ASSIGN_OR_RETURN(const Tensor transposed, pass.New(W_, E_));
  pass.Compute(PassCost::Numbers(4 * g.rows * E_), [&] {
    std::fill_n(transposed.data(), W_ * E_, 0.0f);
    kernels::CausalConv1dSiluBackward(
        pass.context, pass.sequences, xz.view().Columns(0, E_), weight.data(),
        conv_bias_ != nullptr ? conv_bias_->data() : nullptr, W_, g,
        {gx, gweight != nullptr ? transposed.data() : nullptr, gbias});
    if (gweight == nullptr) return;
    AddTransposed(E_, W_, gweight,
                  [&](int64_t k, int64_t e) { return transposed.view().row(k)[e]; });
  });
  RETURN_IF_ERROR(pass.gradients->Added(conv_weight_));
  return pass.gradients->Added(conv_bias_);
}

absl::StatusOr<Tensor> TrainableMambaBlock::A(const TrainingPass& pass) const {
  ASSIGN_OR_RETURN(Tensor a, pass.New(N_, E_));
  pass.Compute({}, [&] {
    Transpose({a_log_->data(), E_, N_}, a.data(), [](float log) { return -std::exp(log); });
  });
  return a;
}

kernels::SelectiveScanOperands TrainableMambaBlock::Operands(const ScanInputs& inputs,
                                                             const Tensor& a) const {
  return {.x = *inputs.x,
          .delta = *inputs.delta,
          .delta_bias = dt_bias_->data(),
          .a = a.data(),
          .b = inputs.dbc.view().Columns(R_, N_),
          .c = inputs.dbc.view().Columns(R_ + N_, N_),
          .d = d_->data(),
          .z = inputs.xz.view().Columns(E_, E_),
          .y = {}};
}

PassCost TrainableMambaBlock::ScanCost(const Tensor& x) const {
  return {.scan_elements = static_cast<double>(x.elements() * N_)};
}

absl::StatusOr<Tensor> TrainableMambaBlock::Scan(const TrainingPass& pass,
                                                 ScanInputs& inputs) const {
  ASSIGN_OR_RETURN(const Tensor a, A(pass));
  ASSIGN_OR_RETURN(inputs.states, pass.New(kernels::ScanChunks(pass.sequences), N_ * E_));
  ASSIGN_OR_RETURN(Tensor y, pass.New(inputs.x.rows(), E_));
  pass.Compute(ScanCost(inputs.x), [&] {
    kernels::SelectiveScanOperands operands = Operands(inputs, a);
    operands.y = *y;
    kernels::SelectiveScanForTraining(pass.context, pass.sequences, operands, inputs.states.data());
  });
  return y;
}

absl::Status TrainableMambaBlock::SaveScan(const TrainingPass& pass,
                                           const ScanInputs& inputs) const {
  RETURN_IF_ERROR(pass.Save(TensorClass::kConvolution, inputs.xz));
  RETURN_IF_ERROR(pass.Save(TensorClass::kScanParameters, inputs.dbc));
  for (const Tensor* tensor : {&inputs.x, &inputs.delta, &inputs.states}) {
    RETURN_IF_ERROR(pass.Save(TensorClass::kScan, *tensor));
  }
  return absl::OkStatus();
}

absl::StatusOr<TrainableMambaBlock::ScanInputs> TrainableMambaBlock::TakeScan(
    const TrainingPass& pass) const {
  ScanInputs inputs;
  for (Tensor* tensor : {&inputs.states, &inputs.delta, &inputs.x, &inputs.dbc, &inputs.xz}) {
    ASSIGN_OR_RETURN(*tensor, pass.Take());
  }
  if (!inputs.x.empty()) return inputs;
  ASSIGN_OR_RETURN(inputs.x, Convolve(pass, inputs.xz));
  ASSIGN_OR_RETURN(inputs.delta, pass.New(inputs.x.rows(), E_));
  dt_proj_.Multiply(pass, inputs.dbc.view().Columns(0, R_), *inputs.delta);
  RETURN_IF_ERROR(Scan(pass, inputs).status());
  return inputs;
}

absl::Status TrainableMambaBlock::ScanBackward(TrainingPass& pass, const ScanInputs& inputs,
                                               MatrixView<const float> g,
                                               kernels::SelectiveScanGradients gradients) const {
  ASSIGN_OR_RETURN(const Tensor a, A(pass));
  ASSIGN_OR_RETURN(const Tensor ga, pass.New(N_, E_));
  ASSIGN_OR_RETURN(float* const ga_log, pass.gradients->SumOf(pass.context, a_log_));
  if (ga_log != nullptr) gradients.a = ga.data();
  ASSIGN_OR_RETURN(gradients.d, pass.gradients->SumOf(pass.context, d_));
  ASSIGN_OR_RETURN(gradients.delta_bias, pass.gradients->SumOf(pass.context, dt_bias_));
  PassCost cost = ScanCost(inputs.x);
  cost += cost;  // forward within each chunk, and backward
  pass.Compute(cost, [&] {
    std::fill_n(ga.data(), N_ * E_, 0.0f);
    kernels::SelectiveScanBackward(pass.context, pass.sequences, Operands(inputs, a),
                                   inputs.states.data(), g, gradients);
    if (ga_log == nullptr) return;
    // A = -exp(A_log), so ∂A/∂A_log = A
    AddTransposed(E_, N_, ga_log,
                  [&](int64_t n, int64_t e) { return ga.view().row(n)[e] * a.view().row(n)[e]; });
  });
  RETURN_IF_ERROR(pass.gradients->Added(a_log_));
  RETURN_IF_ERROR(pass.gradients->Added(d_));
  return pass.gradients->Added(dt_bias_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainableBlock>> MakeTrainableMambaBlock(
    TrainableParameters& parameters, const std::string& prefix, const MambaConfig& config) {
  auto block = std::make_unique<TrainableMambaBlock>(config);
  RETURN_IF_ERROR(block->Make(parameters, prefix, config));
  return block;
}

}  // namespace whipsnake::engine
