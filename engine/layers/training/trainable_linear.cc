#include "engine/layers/training/trainable_linear.h"

#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "kernels/product/product.h"

namespace whipsnake::engine {

using kernels::MatrixView;
using kernels::ProductOperand;

absl::StatusOr<TrainableLinear> TrainableLinear::Make(TrainableParameters& parameters,
                                                      const std::string& name, const Shape& shape) {
  TrainableLinear linear;
  ASSIGN_OR_RETURN(linear.weight_, parameters.UseInProducts(name + ".weight"));
  if (shape.bias) {
    ASSIGN_OR_RETURN(linear.bias_, parameters.Use(name + ".bias"));
  }
  linear.transposed_ = shape.transposed;
  linear.input_ = shape.input;
  linear.layer_ = parameters.AddLayer({.name = name,
                                       .parameters = {linear.weight_, linear.bias_},
                                       .input = shape.input,
                                       .input_width = linear.inputs(),
                                       .held_as = shape.held_as});
  return linear;
}

absl::StatusOr<TrainableLinear> TrainableLinear::OfWeight(TrainableParameters& parameters,
                                                          const std::string& name) {
  TrainableLinear linear;
  ASSIGN_OR_RETURN(linear.weight_, parameters.UseInProducts(name));
  linear.layer_ = parameters.AddLayer(
      {.name = std::string(absl::StripSuffix(name, ".weight")), .parameters = {linear.weight_}});
  return linear;
}

int64_t TrainableLinear::outputs() const { return weight_->shape[transposed_ ? 1 : 0]; }
int64_t TrainableLinear::inputs() const { return weight_->shape[transposed_ ? 0 : 1]; }

absl::Status TrainableLinear::Forward(TrainingPass& pass, const Tensor& x,
                                      MatrixView<float> y) const {
  if (weight_->trains) RETURN_IF_ERROR(pass.Save(input_, x));
  Multiply(pass, *x, y);
  return absl::OkStatus();
}

absl::Status TrainableLinear::Backward(TrainingPass& pass, MatrixView<const float> g,
                                       MatrixView<float> gx, bool accumulate) const {
  Tensor x;
  if (weight_->trains) {
    ASSIGN_OR_RETURN(x, pass.Take());
  }
  if (pass.GoesBelow(layer_)) MultiplyBackward(pass, g, gx, accumulate);
  RETURN_IF_ERROR(AddGradients(pass, *x, g));
  return AddedGradients(pass);
}

void TrainableLinear::Multiply(const TrainingPass& pass, MatrixView<const float> x,
                               MatrixView<float> y) const {
  pass.Compute(PassCost::Product(x.rows, outputs(), inputs()), [&] {
    const ProductOperand w = weight_->operand();
    kernels::Product(pass.context, pass.arithmetic,
                     {.a = x,
                      .b = transposed_ ? w : w.Transposed(),
                      .bias = bias_ != nullptr ? bias_->data() : nullptr,
                      .c = y});
  });
}

void TrainableLinear::MultiplyBackward(const TrainingPass& pass, MatrixView<const float> g,
                                       MatrixView<float> gx, bool accumulate) const {
  pass.Compute(PassCost::Product(g.rows, outputs(), inputs()), [&] {
    const ProductOperand w = weight_->operand();
    kernels::Product(
        pass.context, pass.arithmetic,
        {.a = g, .b = transposed_ ? w.Transposed() : w, .accumulate = accumulate, .c = gx});
  });
}

absl::Status TrainableLinear::AddGradients(TrainingPass& pass, MatrixView<const float> x,
                                           MatrixView<const float> g) const {
  if (weight_->trains) {
    ASSIGN_OR_RETURN(const Gradients::Target gw, pass.gradients->Of(*weight_));
    PassCost cost = PassCost::Product(g.rows, outputs(), inputs());
    cost.weight_gradients = 1;
    pass.Compute(cost, [&] {
      const ProductOperand left = transposed_ ? x : g, right = transposed_ ? g : x;
      kernels::Product(
          pass.context, pass.arithmetic,
          {.a = left.Transposed(), .b = right, .accumulate = gw.accumulate, .c = gw.matrix});
    });
  }
  ASSIGN_OR_RETURN(float* const gb, pass.gradients->SumOf(pass.context, bias_));
  if (gb != nullptr) {
    pass.Compute(PassCost::Numbers(g.rows * g.cols),
                 [&] { kernels::AddColumnSums(pass.context, g, gb); });
  }
  return absl::OkStatus();
}

absl::Status TrainableLinear::AddedGradients(TrainingPass& pass) const {
  RETURN_IF_ERROR(pass.gradients->Added(weight_));
  return pass.gradients->Added(bias_);
}

}  // namespace whipsnake::engine
