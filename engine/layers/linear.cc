#include "engine/layers/linear.h"

#include "engine/base/status.h"
#include "kernels/matmul/matmul.h"

namespace whipsnake::engine {

using kernels::DType;

absl::StatusOr<Linear> Linear::Load(WeightLoader& loader, const std::string& name,
                                    const Shape& shape, DType type, Inputs inputs) {
  const std::string weight = name + ".weight";
  const int64_t N = shape.outputs, K = shape.inputs;
  Linear linear;
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
      return linear.input_scale_ * scale[n];
    }));
  }
  ASSIGN_OR_RETURN(linear.bias_, loader.Floats(name + ".bias", {N}));
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

void Linear::AppendWeights(std::vector<std::span<const std::byte>>& weights) const {
  weights.push_back(weight_.bytes());
  weights.push_back(bias_.bytes());
  if (multiplier_.size() > 0) weights.push_back(multiplier_.bytes());
}

}  // namespace whipsnake::engine
