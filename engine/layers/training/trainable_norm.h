// A norm in training, RMSNorm or LayerNorm.
//
// Letters: T rows (tokens), d width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_NORM_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_NORM_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/norm.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/layers/training/training_pass.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

class TrainableNorm {
 public:
  // Takes the parameters `name` + ".weight" and, for LayerNorm, ".bias", as a layer.
  static absl::StatusOr<TrainableNorm> Make(TrainableParameters& parameters,
                                            const std::string& name, NormKind kind, float epsilon);

  // Returns norm(x) for x[T,d]. Saves x, or what its format keeps of it, if the backward pass goes
  // as far as this.
  absl::StatusOr<Tensor> Forward(TrainingPass& pass, const Tensor& x) const;
  // Given g[T,d] = ∂L/∂norm(x): adds ∂L/∂x to gx[T,d], and the gradients of γ and β. gx may not
  // alias g.
  absl::Status Backward(TrainingPass& pass, kernels::MatrixView<const float> g,
                        kernels::MatrixView<float> gx) const;

  int64_t layer() const { return layer_; }  // its number

 private:
  TensorClass InputClass() const {
    return gamma_->trains ? TensorClass::kTrainingNormInput : TensorClass::kNormInput;
  }
  absl::Status SaveInput(TrainingPass& pass, const Tensor& x) const;

  NormKind kind_ = NormKind::kRms;
  float epsilon_ = 0;
  TrainableParameter* gamma_ = nullptr;
  TrainableParameter* beta_ = nullptr;  // null for RMSNorm
  int64_t layer_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_NORM_H_
