#include "engine/models/mamba/float_mamba_block.h"

#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::engine {
namespace {

class FloatMambaBlock : public MambaBlock {
 public:
  FloatMambaBlock(const MambaConfig& config, const MambaStateLayout& states, std::string prefix,
                  int64_t layer, MambaObserver* observer)
      : MambaBlock(config, states, std::move(prefix), Inputs::kFloats, layer, observer) {}

  absl::Status Load(WeightLoader& loader, const MambaConfig& config, kernels::DType type);

 private:
  void Convolve(const kernels::Context& context, std::span<const MambaRun> runs, const Rows& x,
                const Rows& out) const override;
  void Scan(const kernels::Context& context, std::span<const MambaRun> runs,
            const Values& values) const override;
  Rows OutputInput(const kernels::Context& /*context*/, const Values& values) const override {
    return values.y_input;
  }
  void VisitOwnParameters(ParameterVisitor visit) const override;

  Buffer conv_weight_;  // [W,E]
  Buffer conv_bias_;    // [E] or empty
};

void FloatMambaBlock::Convolve(const kernels::Context& context, std::span<const MambaRun> runs,
                               const Rows& x, const Rows& out) const {
  std::vector<kernels::ConvRun> conv_runs;
  for (const MambaRun& run : runs) {
    conv_runs.push_back({run.begin, run.length, reinterpret_cast<float*>(run.conv_state)});
  }
  kernels::CausalConv1dSilu(context, conv_runs, x.floats, conv_weight_.as<float>(),
                            conv_bias_.as<float>(), W_, out.floats);
}

void FloatMambaBlock::Scan(const kernels::Context& context, std::span<const MambaRun> runs,
                           const Values& values) const {
  std::vector<kernels::ScanRun> scan_runs;
  for (const MambaRun& run : runs) {
    scan_runs.push_back({run.begin, run.length, reinterpret_cast<float*>(run.scan_state)});
  }
  kernels::SelectiveScan(context, scan_runs,
                         {.x = values.x.floats,
                          .delta = values.delta.floats,
                          .delta_bias = dt_bias_.as<float>(),
                          .a = A_.as<float>(),
                          .b = values.dbc.floats.Columns(R_, N_),
                          .c = values.dbc.floats.Columns(R_ + N_, N_),
                          .d = D_.as<float>(),
                          .z = values.xz.floats.Columns(E_, E_),
                          .y = values.y});
}

absl::Status FloatMambaBlock::Load(WeightLoader& loader, const MambaConfig& config,
                                   kernels::DType type) {
  const auto load = [&](const char* name, int64_t outputs, int64_t inputs, bool bias) {
    return Linear::Load(loader, MixerName(name), {outputs, inputs, bias}, type, Inputs::kFloats);
  };
  ASSIGN_OR_RETURN(in_proj_, load("in_proj", 2 * E_, d_, config.use_bias));
  ASSIGN_OR_RETURN(conv_weight_, loader.TransposedFloats(MixerName("conv1d.weight"), {E_, 1, W_}));
  ASSIGN_OR_RETURN(x_proj_, load("x_proj", R_ + 2 * N_, E_, /*bias=*/false));
  ASSIGN_OR_RETURN(dt_proj_, load("dt_proj", E_, R_, /*bias=*/false));
  ASSIGN_OR_RETURN(out_proj_, load("out_proj", d_, E_, config.use_bias));
  if (config.use_conv_bias) {
    ASSIGN_OR_RETURN(conv_bias_, loader.Floats(MixerName("conv1d.bias"), {E_}));
  }
  return LoadShared(loader);
}

void FloatMambaBlock::VisitOwnParameters(ParameterVisitor visit) const {
  VisitBuffer(visit, MixerName("conv1d.weight"), {E_, 1, W_}, ParameterRole::kConvolution,
              conv_weight_);
  VisitBuffer(visit, MixerName("conv1d.bias"), {E_}, ParameterRole::kBias, conv_bias_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Block>> LoadFloatMambaBlock(
    WeightLoader& loader, const std::string& prefix, const MambaConfig& config,
    const MambaStateLayout& states, kernels::DType type, int64_t layer, MambaObserver* observer) {
  auto block = std::make_unique<FloatMambaBlock>(config, states, prefix, layer, observer);
  RETURN_IF_ERROR(block->Load(loader, config, type));
  return block;
}

}  // namespace whipsnake::engine
