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
  norm.layer_ = parameters.AddLayer({.name = name,
                                     .parameters = {norm.gamma_, norm.beta_},
                                     .input = TensorClass::kTrainingNormInput,
                                     .input_width = norm.gamma_->shape[0],
                                     .held_as = TensorClass::kNormInput});
  return norm;
}

absl::StatusOr<Tensor> TrainableNorm::Forward(TrainingPass& pass, const Tensor& x) const {
  if (pass.GoesBelow(layer_ + 1)) RETURN_IF_ERROR(SaveInput(pass, x));
  ASSIGN_OR_RETURN(Tensor y, pass.New(x.rows(), x.view().cols));
  pass.Compute(PassCost::Numbers(2 * x.elements()), [&] {
    if (kind_ == NormKind::kRms) {
      kernels::ResidualRmsNorm(pass.context, {}, *x, gamma_->data(), epsilon_, *y);
    } else {
      kernels::ResidualLayerNorm(pass.context, {}, *x, {gamma_->data(), beta_->data(), epsilon_},
                                 *y);
    }
  });
  return y;
}

// Normalizes before it prunes, so that rows of large values do not take all kept elements.
absl::Status TrainableNorm::SaveInput(TrainingPass& pass, const Tensor& x) const {
  const bool prunes =
      pass.store->encodes(InputClass()) && pass.store->format(InputClass()) == StoreFormat::kPruned;
  if (!prunes) return pass.Save(InputClass(), x);
  ASSIGN_OR_RETURN(const Tensor normalized, pass.New(x.rows(), x.view().cols));
  ASSIGN_OR_RETURN(Tensor rstd, pass.New(x.rows(), 1));
  pass.Compute(PassCost::Numbers(2 * x.elements()), [&] {
    if (kind_ == NormKind::kRms) {
      kernels::RmsNormalize(pass.context, *x, epsilon_, *normalized, rstd.data());
    } else {
      kernels::LayerNormalize(pass.context, *x, epsilon_, *normalized, rstd.data());
    }
  });
  pass.store->SaveExactly(InputClass(), std::move(rstd));
  return pass.Save(InputClass(), normalized);
}

absl::Status TrainableNorm::Backward(TrainingPass& pass, kernels::MatrixView<const float> g,
                                     kernels::MatrixView<float> gx) const {
  if (!pass.GoesBelow(layer_ + 1)) return absl::OkStatus();
  const bool normalized = pass.store->format(InputClass()) == StoreFormat::kPruned;
  ASSIGN_OR_RETURN(const Tensor x, pass.Take());
  Tensor rstd;
  if (normalized) {
    ASSIGN_OR_RETURN(rstd, pass.Take());
  }
  ASSIGN_OR_RETURN(float* const ggamma, pass.gradients->SumOf(pass.context, gamma_));
  ASSIGN_OR_RETURN(float* const gbeta, pass.gradients->SumOf(pass.context, beta_));
  pass.Compute(PassCost::Numbers(4 * x.elements()), [&] {
    if (kind_ == NormKind::kRms && normalized) {
      kernels::NormalizedRmsNormBackward(pass.context, *x, rstd.data(), gamma_->data(), g, gx,
                                         ggamma);
    } else if (kind_ == NormKind::kRms) {
      kernels::RmsNormBackward(pass.context, *x, gamma_->data(), epsilon_, g, gx, ggamma);
    } else if (normalized) {
      kernels::NormalizedLayerNormBackward(pass.context, *x, rstd.data(), gamma_->data(), g,
                                           {gx, ggamma, gbeta});
    } else {
      kernels::LayerNormBackward(pass.context, *x, {gamma_->data(), beta_->data(), epsilon_}, g,
                                 {gx, ggamma, gbeta});
    }
  });
  RETURN_IF_ERROR(pass.gradients->Added(gamma_));
  return pass.gradients->Added(beta_);
}

}  // namespace whipsnake::engine
