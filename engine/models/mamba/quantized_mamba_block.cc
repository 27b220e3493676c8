#include "engine/models/mamba/quantized_mamba_block.h"

#include <cmath>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using kernels::MatrixView;

class QuantizedMambaBlock : public MambaBlock {
 public:
  QuantizedMambaBlock(const MambaConfig& config, const MambaStateLayout& states, std::string prefix,
                      DType scan_state, int64_t layer)
      : MambaBlock(config, states, std::move(prefix), Inputs::kStaticCodes, layer,
                   /*observer=*/nullptr),
        rotated_(config.quantization->output_rotation),
        scan_state_(scan_state) {}

  absl::Status Load(WeightLoader& loader, const MambaConfig& config);

 private:
  void Convolve(const kernels::Context& context, std::span<const MambaRun> runs, const Rows& x,
                const Rows& out) const override;
  void Scan(const kernels::Context& context, std::span<const MambaRun> runs,
            const Values& values) const override;
  Rows OutputInput(const kernels::Context& context, const Values& values) const override;
  void VisitOwnParameters(ParameterVisitor visit) const override;

  absl::StatusOr<Linear> LoadProduct(WeightLoader& loader, const char* name, int64_t outputs,
                                     int64_t inputs, bool bias,
                                     std::span<const float> output_scales) const;
  absl::Status LoadInProj(WeightLoader& loader, bool use_bias);
  absl::Status LoadConv(WeightLoader& loader, bool use_bias);
  absl::Status LoadXProj(WeightLoader& loader);
  absl::Status LoadScan(WeightLoader& loader);
  absl::Status LoadOutProj(WeightLoader& loader, bool use_bias);
  // Loads the scales `name`, [n], as they are.
  absl::StatusOr<Buffer> LoadScales(WeightLoader& loader, const char* name, int64_t n) const;
  // Loads `name`, [E], by which the input of a product is divided; 1 if it is missing.
  absl::StatusOr<std::vector<float>> LoadSmoothing(WeightLoader& loader, const char* name) const;

  const bool rotated_;
  const DType scan_state_;

  Buffer conv_weight_;                      // codes [W,E]
  Buffer conv_multiplier_;                  // [E]
  Buffer conv_bias_;                        // [E] or empty
  Buffer conv_output_;                      // [E] = 1 / x's scale
  Buffer x_scale_, delta_scale_, z_scale_;  // [E]
  Buffer b_scale_, c_scale_, state_scale_;  // [N]
  float rotation_scale_ = 0;                // 1 / (√E s_y)
  Buffer y_multiplier_;                     // [E] = 1 / y's scale, without a rotation
};

void QuantizedMambaBlock::Convolve(const kernels::Context& context, std::span<const MambaRun> runs,
                                   const Rows& x, const Rows& out) const {
  std::vector<kernels::QuantizedConvRun> conv_runs;
  for (const MambaRun& run : runs) {
    conv_runs.push_back({run.begin, run.length, reinterpret_cast<int8_t*>(run.conv_state)});
  }
  kernels::CausalConv1dSilu(context, conv_runs,
                            {.x = x.codes,
                             .weight = conv_weight_.as<int8_t>(),
                             .multiplier = conv_multiplier_.as<float>(),
                             .bias = conv_bias_.as<float>(),
                             .width = W_,
                             .output_multiplier = conv_output_.as<float>(),
                             .y = out.codes});
}

void QuantizedMambaBlock::Scan(const kernels::Context& context, std::span<const MambaRun> runs,
                               const Values& values) const {
  std::vector<kernels::QuantizedScanRun> scan_runs;
  for (const MambaRun& run : runs) scan_runs.push_back({run.begin, run.length, run.scan_state});
  const MatrixView<int8_t>& dbc = values.dbc.codes;
  kernels::SelectiveScan(context, scan_runs,
                         {.x = {values.x.codes, x_scale_.as<float>()},
                          .delta = {values.delta.codes, delta_scale_.as<float>()},
                          .delta_bias = dt_bias_.as<float>(),
                          .a = A_.as<float>(),
                          .b = {dbc.Columns(R_, N_), b_scale_.as<float>()},
                          .c = {dbc.Columns(R_ + N_, N_), c_scale_.as<float>()},
                          .d = D_.as<float>(),
                          .z = {values.xz.codes.Columns(E_, E_), z_scale_.as<float>()},
                          .state_dtype = scan_state_,
                          .state_scale = state_scale_.as<float>(),
                          .y = values.y});
}

// With an output rotation, which spreads the outliers of y, W_out and y are rotated:
// h' = (W_out Hᵀ/√E) (H y/√E)
Rows QuantizedMambaBlock::OutputInput(const kernels::Context& context, const Values& values) const {
  if (rotated_) {
    kernels::Hadamard(context, values.y, rotation_scale_, values.y_input.codes);
  } else {
    kernels::Quantize(context, values.y, y_multiplier_.as<float>(), values.y_input.codes);
  }
  return values.y_input;
}

absl::Status QuantizedMambaBlock::Load(WeightLoader& loader, const MambaConfig& config) {
  RETURN_IF_ERROR(LoadInProj(loader, config.use_bias));
  RETURN_IF_ERROR(LoadConv(loader, config.use_conv_bias));
  RETURN_IF_ERROR(LoadXProj(loader));
  RETURN_IF_ERROR(LoadScan(loader));
  RETURN_IF_ERROR(LoadOutProj(loader, config.use_bias));
  return LoadShared(loader);
}

absl::StatusOr<Linear> QuantizedMambaBlock::LoadProduct(
    WeightLoader& loader, const char* name, int64_t outputs, int64_t inputs, bool bias,
    std::span<const float> output_scales) const {
  return Linear::Load(loader, MixerName(name), {outputs, inputs, bias}, DType::kI8,
                      Inputs::kStaticCodes, output_scales);
}

absl::StatusOr<Buffer> QuantizedMambaBlock::LoadScales(WeightLoader& loader, const char* name,
                                                       int64_t n) const {
  ASSIGN_OR_RETURN(const std::vector<float> scales, loader.Scales(MixerName(name), n));
  return loader.Derived(MixerName(name), n, [&](int64_t i) { return scales[i]; });
}

absl::StatusOr<std::vector<float>> QuantizedMambaBlock::LoadSmoothing(WeightLoader& loader,
                                                                      const char* name) const {
  if (!loader.checkpoint().Contains(MixerName(name))) return std::vector<float>(E_, 1.0f);
  return loader.Scales(MixerName(name), E_);
}

absl::Status QuantizedMambaBlock::LoadInProj(WeightLoader& loader, bool use_bias) {
  ASSIGN_OR_RETURN(std::vector<float> xz, loader.Scales(MixerName("conv1d.input_scale"), E_));
  ASSIGN_OR_RETURN(const auto z, loader.Scales(MixerName("gate_scale"), E_));
  xz.insert(xz.end(), z.begin(), z.end());
  ASSIGN_OR_RETURN(in_proj_, LoadProduct(loader, "in_proj", 2 * E_, d_, use_bias, xz));
  ASSIGN_OR_RETURN(z_scale_, LoadScales(loader, "gate_scale", E_));
  return absl::OkStatus();
}

absl::Status QuantizedMambaBlock::LoadConv(WeightLoader& loader, bool use_bias) {
  const std::string name = MixerName("conv1d.weight");
  ASSIGN_OR_RETURN(conv_weight_, loader.TransposedCodes(name, {E_, 1, W_}));
  ASSIGN_OR_RETURN(const auto weight, loader.Scales(ScaleName(name), E_));
  ASSIGN_OR_RETURN(const auto input, loader.Scales(MixerName("conv1d.input_scale"), E_));
  ASSIGN_OR_RETURN(conv_multiplier_,
                   loader.Derived(name, E_, [&](int64_t e) { return input[e] * weight[e]; }));
  if (use_bias) {
    ASSIGN_OR_RETURN(conv_bias_, loader.Floats(MixerName("conv1d.bias"), {E_}));
  }
  ASSIGN_OR_RETURN(const float x, loader.Scale(MixerName("x_proj.input_scale")));
  ASSIGN_OR_RETURN(const auto smoothing, LoadSmoothing(loader, "x_proj.input_smoothing"));
  const std::string what = MixerName("x_proj.input_smoothing");
  ASSIGN_OR_RETURN(x_scale_, loader.Derived(what, E_, [&](int64_t e) { return x * smoothing[e]; }));
  ASSIGN_OR_RETURN(conv_output_,
                   loader.Derived(what, E_, [&](int64_t e) { return 1.0f / (x * smoothing[e]); }));
  return absl::OkStatus();
}

absl::Status QuantizedMambaBlock::LoadXProj(WeightLoader& loader) {
  ASSIGN_OR_RETURN(const float rank, loader.Scale(MixerName("dt_proj.input_scale")));
  ASSIGN_OR_RETURN(const auto b, loader.Scales(MixerName("B_scale"), N_));
  ASSIGN_OR_RETURN(const auto c, loader.Scales(MixerName("C_scale"), N_));
  std::vector<float> dbc(R_, rank);
  dbc.insert(dbc.end(), b.begin(), b.end());
  dbc.insert(dbc.end(), c.begin(), c.end());
  ASSIGN_OR_RETURN(x_proj_, LoadProduct(loader, "x_proj", R_ + 2 * N_, E_, /*bias=*/false, dbc));
  ASSIGN_OR_RETURN(b_scale_, LoadScales(loader, "B_scale", N_));
  ASSIGN_OR_RETURN(c_scale_, LoadScales(loader, "C_scale", N_));
  return absl::OkStatus();
}

absl::Status QuantizedMambaBlock::LoadScan(WeightLoader& loader) {
  ASSIGN_OR_RETURN(const auto step, loader.Scales(MixerName("dt_proj.output_scale"), E_));
  ASSIGN_OR_RETURN(dt_proj_, LoadProduct(loader, "dt_proj", E_, R_, /*bias=*/false, step));
  ASSIGN_OR_RETURN(delta_scale_, LoadScales(loader, "dt_proj.output_scale", E_));
  if (scan_state_ == DType::kI8) {
    ASSIGN_OR_RETURN(state_scale_, LoadScales(loader, "state_scale", N_));
    return absl::OkStatus();
  }
  return loader.Scales(MixerName("state_scale"), N_).status();  // checked for any type of states
}

absl::Status QuantizedMambaBlock::LoadOutProj(WeightLoader& loader, bool use_bias) {
  ASSIGN_OR_RETURN(out_proj_, LoadProduct(loader, "out_proj", d_, E_, use_bias, {}));
  const float input = out_proj_.input_scale();
  const std::string smoothing_name = MixerName("out_proj.input_smoothing");
  if (rotated_) {
    if (loader.checkpoint().Contains(smoothing_name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(smoothing_name),
                       " seen, expected none with quantization_config.output_rotation"));
    }
    rotation_scale_ = 1.0f / (std::sqrt(static_cast<float>(E_)) * input);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto smoothing, LoadSmoothing(loader, "out_proj.input_smoothing"));
  ASSIGN_OR_RETURN(y_multiplier_, loader.Derived(smoothing_name, E_, [&](int64_t e) {
    return 1.0f / (input * smoothing[e]);
  }));
  return absl::OkStatus();
}

void QuantizedMambaBlock::VisitOwnParameters(ParameterVisitor visit) const {
  visit({MixerName("conv1d.weight"),
         {E_, 1, W_},
         ParameterRole::kConvolution,
         DType::kI8,
         conv_weight_.bytes()});
  VisitBuffer(visit, MixerName("conv1d.bias"), {E_}, ParameterRole::kBias, conv_bias_);
  const auto visit_scale = [&](const char* name, int64_t n, const Buffer& buffer) {
    VisitBuffer(visit, MixerName(name), {n}, ParameterRole::kCodeScale, buffer);
  };
  visit_scale("conv1d.scale", E_, conv_multiplier_);
  visit_scale("conv1d.output_scale", E_, conv_output_);
  visit_scale("x_scale", E_, x_scale_);
  visit_scale("gate_scale", E_, z_scale_);
  visit_scale("B_scale", N_, b_scale_);
  visit_scale("C_scale", N_, c_scale_);
  visit_scale("dt_proj.output_scale", E_, delta_scale_);
  visit_scale("state_scale", N_, state_scale_);
  visit_scale("out_proj.input_smoothing", E_, y_multiplier_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Block>> LoadQuantizedMambaBlock(WeightLoader& loader,
                                                               const std::string& prefix,
                                                               const MambaConfig& config,
                                                               const MambaStateLayout& states,
                                                               DType scan_state, int64_t layer) {
  if (config.quantization->output_rotation && !kernels::HasHadamard(config.intermediate_size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "intermediate_size: ", config.intermediate_size,
        " seen, expected 2^k, 12 * 2^k or 40 * 2^k for quantization_config.output_rotation"));
  }
  auto block = std::make_unique<QuantizedMambaBlock>(config, states, prefix, scan_state, layer);
  RETURN_IF_ERROR(block->Load(loader, config));
  return block;
}

}  // namespace whipsnake::engine
