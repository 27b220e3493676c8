// A block of a model in training: a norm and a layer on the residual stream, or several of them.
//
// Letters: T rows (tokens) of the batch, d model width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_BLOCK_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_BLOCK_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/training/training_pass.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// Called on the executor, on one block at a time.
class TrainableBlock {
 public:
  virtual ~TrainableBlock() = default;

  // Returns the residual stream after the block, for the stream x[T,d] before it. The values are
  // those of the model's Block, but for rounding and dropout. Saves what Backward() takes.
  virtual absl::StatusOr<Tensor> Forward(TrainingPass& pass, Tensor x) const = 0;

  // Replaces g[T,d] = ∂L/∂(the stream after the block) by ∂L/∂x, and adds the gradients of the
  // parameters that train.
  virtual absl::Status Backward(TrainingPass& pass, kernels::MatrixView<float> g) const = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_BLOCK_H_
