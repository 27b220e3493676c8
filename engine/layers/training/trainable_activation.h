// An activation function in training, y = f(x), with CRReLU's ε as a parameter.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_ACTIVATION_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_ACTIVATION_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/layers/training/training_pass.h"
#include "kernels/activation/activation.h"
#include "kernels/activation/activation_cells.h"

namespace whipsnake::engine {

class TrainableActivation {
 public:
  TrainableActivation() = default;
  // `epsilon` is null unless the function is CRReLU. It belongs to the layer below the function.
  TrainableActivation(kernels::Activation activation, TrainableParameter* epsilon)
      : activation_(activation), epsilon_(epsilon) {}

  // Returns f(x). Saves x, or codes of its elements, if `save`.
  absl::StatusOr<Tensor> Forward(TrainingPass& pass, Tensor x, bool save) const;
  // Replaces g = ∂L/∂f(x) by ∂L/∂x, and adds the gradient of ε. For what Forward() has saved.
  absl::Status Backward(TrainingPass& pass, const Tensor& g) const;

 private:
  // Returns the gradient of ε.
  absl::StatusOr<double> BackwardFromGroups(TrainingPass& pass, const Tensor& codes,
                                            kernels::MatrixView<float> g) const;
  kernels::ActivationFunction Function() const {
    return {activation_, epsilon_ != nullptr ? *epsilon_->data() : 0};
  }

  kernels::Activation activation_ = kernels::Activation::kRelu;
  TrainableParameter* epsilon_ = nullptr;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_ACTIVATION_H_
