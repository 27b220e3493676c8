#include "engine/layers/training/trainable_norm.h"

#include "engine/base/status.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/rms_norm/rms_norm.h"

namespace whipsnake::engine {

absl::StatusOr<TrainableNorm> TrainableNorm::Make(TrainableParameters& parameters,
                                                  const std::string& name, NormKind kind,
                                                  float epsilon) {
  TrainableNorm norm;
  norm.kind_ = kind;
  norm.epsilon_ = epsilon;
  ASSIGN_OR_RETURN(norm.gamma_, parameters.Use(name + ".weight"));
  if (kind == NormKind::kLayer) {
    ASSIGN_OR_RETURN(norm.beta_, parameters.Use(name + ".bias"));
  }
  return norm;
}

absl::StatusOr<Tensor> TrainableNorm::Forward(TrainingPass& pass, const Tensor& x) const {
  pass.store->Save(TensorClass::kNormInput, x);
  ASSIGN_OR_RETURN(Tensor y, pass.New(x.rows(), x.view().cols));
  if (kind_ == NormKind::kRms) {
    kernels::ResidualRmsNorm(pass.context, {}, *x, gamma_->data(), epsilon_, *y);
  } else {
    kernels::ResidualLayerNorm(pass.context, {}, *x, {gamma_->data(), beta_->data(), epsilon_}, *y);
  }
  return y;
}

absl::Status TrainableNorm::Backward(TrainingPass& pass, kernels::MatrixView<const float> g,
                                     kernels::MatrixView<float> gx) const {
  const Tensor x = pass.store->Take();
  ASSIGN_OR_RETURN(float* const ggamma, pass.gradients->SumOf(gamma_));
  ASSIGN_OR_RETURN(float* const gbeta, pass.gradients->SumOf(beta_));
  if (kind_ == NormKind::kRms) {
    kernels::RmsNormBackward(pass.context, *x, gamma_->data(), epsilon_, g, gx, ggamma);
  } else {
    kernels::LayerNormBackward(pass.context, *x, {gamma_->data(), beta_->data(), epsilon_}, g,
                               {gx, ggamma, gbeta});
  }
  RETURN_IF_ERROR(pass.gradients->Added(gamma_));
  return pass.gradients->Added(beta_);
}

}  // namespace whipsnake::engine
