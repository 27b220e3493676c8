#include "engine/layers/linear.h"

#include <vector>

#include "engine/base/status.h"
#include "kernels/matmul/matmul.h"

namespace whipsnake::engine {

using kernels::DType;

absl::StatusOr<Linear> Linear::Load(WeightLoader& loader, const std::string& name,
                                    const Shape& shape, DType type, Inputs inputs,
                                    std::span<const float> output_scales) {
  const std::string weight = name + ".weight";
  const int64_t N = shape.outputs, K = shape.inputs;
  const auto output_scale = [&](int64_t n) { return output_scales.empty() ? 1 : output_scales[n]; };
  Linear linear;
  linear.name_ = name;
  linear.shape_ = shape;
  if (inputs == Inputs::kFloats) {
    ASSIGN_OR_RETURN(linear.weight_, shape.transposed ? loader.TransposedMatrix(weight, N, K, type)
                                                      : loader.Matrix(weight, N, K, type));
  } else {
    ASSIGN_OR_RETURN(linear.weight_, loader.Matrix(weight, N, K, DType::kI8));
    ASSIGN_OR_RETURN(const std::vector<float> scale, loader.Scales(ScaleName(weight), N));
    if (inputs == Inputs::kStaticCodes) {
      ASSIGN_OR_RETURN(linear.input_scale_, loader.Scale(name + ".input_scale"));
    }
    ASSIGN_OR_RETURN(linear.multiplier_, loader.Derived(ScaleName(weight), N, [&](int64_t n) {
      return linear.input_scale_ * scale[n] / output_scale(n);
    }));
  }
  if (!shape.bias) return linear;
  if (output_scales.empty()) {
    ASSIGN_OR_RETURN(linear.bias_, loader.Floats(name + ".bias", {N}));
    return linear;
  }
  ASSIGN_OR_RETURN(const std::vector<float> bias, loader.Values(name + ".bias", {{N}}));
  ASSIGN_OR_RETURN(linear.bias_, loader.Derived(name + ".bias", N, [&](int64_t n) {
    return bias[n] / output_scale(n);
  }));
  return linear;
}

kernels::SumScaling Linear::Scaling(const Rows& x, kernels::ActivationFunction f) const {
  return {multiplier_.as<float>(), bias_.as<float>(), x.scales, f};
}

void Linear::Forward(const kernels::Context& context, const Rows& x, kernels::MatrixView<float> y,
                     kernels::ActivationFunction f) const {
  if (x.codes.data == nullptr) {
    kernels::Matmul(context, x.floats, weight_.view(), bias_.as<float>(), y, f);
  } else {
    kernels::QuantizedMatmul(context, x.codes, weight_.view(), Scaling(x, f), y);
  }
}

void Linear::Forward(const kernels::Context& context, const Rows& x, float scale,
                     kernels::MatrixView<int8_t> y, kernels::ActivationFunction f) const {
  kernels::SumScaling scaling = Scaling(x, f);
  scaling.inverse_scale = 1 / scale;
  kernels::QuantizedMatmul(context, x.codes, weight_.view(), scaling, y);
}

void Linear::Forward(const kernels::Context& context, const Rows& x, const Rows& y) const {
  if (y.codes.data == nullptr) return Forward(context, x, y.floats);
  Forward(context, x, /*scale=*/1, y.codes);
}

void Linear::VisitParameters(ParameterVisitor visit) const {
  const int64_t N = shape_.outputs, K = shape_.inputs;
  const bool transposed = shape_.transposed;
  const std::string weight = name_ + ".weight";
  visit({weight, transposed ? std::vector{K, N} : std::vector{N, K}, ParameterRole::kMatrix,
         weight_.view().format.dtype, weight_.bytes()});
  VisitBuffer(visit, name_ + ".bias", {N}, ParameterRole::kBias, bias_);
  VisitBuffer(visit, ScaleName(weight), {N}, ParameterRole::kCodeScale, multiplier_);
}

}  // namespace whipsnake::engine
