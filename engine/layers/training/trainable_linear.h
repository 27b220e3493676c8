// A linear layer in training, y = W x + b.
//
// Letters: T rows (tokens), N outputs, K inputs.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_LINEAR_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_LINEAR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/layers/training/training_pass.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

class TrainableLinear {
 public:
  struct Shape {
    bool bias = true;
    bool transposed = false;  // whether the weight is stored as [K,N], as in GPT-2's Conv1D
    TensorClass input = TensorClass::kProductInput;
    TensorClass held_as = TensorClass::kTransient;  // see TrainableLayer
  };

  // Takes the parameters `name` + ".weight" and, with a bias, ".bias", as a layer.
  static absl::StatusOr<TrainableLinear> Make(TrainableParameters& parameters,
                                              const std::string& name, const Shape& shape);
  // Takes a weight [N,K] alone, such as a tied embedding. The caller keeps its input.
  static absl::StatusOr<TrainableLinear> OfWeight(TrainableParameters& parameters,
                                                  const std::string& name);

  // y[T,N] = W x + b, for x[T,K]. Saves x if the weight trains.
  absl::Status Forward(TrainingPass& pass, const Tensor& x, kernels::MatrixView<float> y) const;
  // Given g[T,N] = ∂L/∂y: gx[T,K] = g W, or gx += g W if `accumulate`, unless the backward pass
  // ends here; and adds the gradients of W and b. gx may not alias g.
  absl::Status Backward(TrainingPass& pass, kernels::MatrixView<const float> g,
                        kernels::MatrixView<float> gx, bool accumulate = false) const;

  // The parts of these, for a caller that keeps x itself and multiplies one block of rows after
  // another. AddedGradients() comes after the last block and after all products with the weight,
  // which it may update.
  void Multiply(const TrainingPass& pass, kernels::MatrixView<const float> x,
                kernels::MatrixView<float> y) const;
  void MultiplyBackward(const TrainingPass& pass, kernels::MatrixView<const float> g,
                        kernels::MatrixView<float> gx, bool accumulate = false) const;
  absl::Status AddGradients(TrainingPass& pass, kernels::MatrixView<const float> x,
                            kernels::MatrixView<const float> g) const;
  absl::Status AddedGradients(TrainingPass& pass) const;

  int64_t outputs() const;
  int64_t inputs() const;
  int64_t layer() const { return layer_; }  // its number

 private:
  TrainableParameter* weight_ = nullptr;
  TrainableParameter* bias_ = nullptr;  // null without a bias
  bool transposed_ = false;
  TensorClass input_ = TensorClass::kProductInput;
  int64_t layer_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_LINEAR_H_
