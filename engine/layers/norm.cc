#include "engine/layers/norm.h"

#include <vector>

#include "engine/base/status.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/rms_norm/rms_norm.h"

namespace whipsnake::engine {
namespace {

absl::StatusOr<Buffer> LoadDivided(WeightLoader& loader, const std::string& name, int64_t width,
                                   float scale) {
  if (scale == 1) return loader.Floats(name, {width});
  const int64_t shape[] = {width};
  ASSIGN_OR_RETURN(const std::vector<float> values, loader.Values(name, shape));
  return loader.Derived(name, width, [&](int64_t i) { return values[i] / scale; });
}

}  // namespace

absl::StatusOr<Norm> Norm::Load(WeightLoader& loader, const std::string& name, const Shape& shape,
                                float scale) {
  Norm norm;
  norm.name_ = name;
  norm.shape_ = shape;
  ASSIGN_OR_RETURN(norm.gamma_, LoadDivided(loader, name + ".weight", shape.width, scale));
  if (shape.kind == NormKind::kLayer) {
    ASSIGN_OR_RETURN(norm.beta_, LoadDivided(loader, name + ".bias", shape.width, scale));
  }
  return norm;
}

void Norm::Forward(const kernels::Context& context, kernels::MatrixView<const float> h,
                   kernels::MatrixView<float> residual, const Rows& out) const {
  const float* gamma = gamma_.as<float>();
  if (shape_.kind == NormKind::kRms) {
    if (out.codes.data != nullptr) {
      kernels::ResidualRmsNorm(context, h, residual, gamma, shape_.epsilon, out.codes);
    } else {
      kernels::ResidualRmsNorm(context, h, residual, gamma, shape_.epsilon, out.floats);
    }
    return;
  }
  const kernels::LayerNormWeights weights{gamma, beta_.as<float>(), shape_.epsilon};
  if (out.scales != nullptr) {
    kernels::ResidualLayerNorm(context, h, residual, weights, out.codes, out.scales);
  } else if (out.codes.data != nullptr) {
    kernels::ResidualLayerNorm(context, h, residual, weights, out.codes);
  } else {
    kernels::ResidualLayerNorm(context, h, residual, weights, out.floats);
  }
}

void Norm::VisitParameters(ParameterVisitor visit) const {
  VisitBuffer(visit, name_ + ".weight", {shape_.width}, ParameterRole::kNormScale, gamma_);
  VisitBuffer(visit, name_ + ".bias", {shape_.width}, ParameterRole::kBias, beta_);
}

}  // namespace whipsnake::engine
