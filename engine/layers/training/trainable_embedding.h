// A model's input embedding in training: a table of tokens and, unless the order of tokens comes
// from elsewhere, one of positions, followed by dropout.
//
// Letters: T rows (tokens), d model width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_EMBEDDING_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_EMBEDDING_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/layers/training/training_pass.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

class TrainableEmbedding {
 public:
  // Takes the table `tokens` and, unless it is "", the table `positions`, as one layer each. `site`
  // is the dropout's.
  static absl::StatusOr<TrainableEmbedding> Make(TrainableParameters& parameters,
                                                 const std::string& tokens,
                                                 const std::string& positions, float dropout,
                                                 int64_t site);

  int64_t vocabulary() const { return tokens_->shape[0]; }
  int64_t end_layer() const { return end_layer_; }  // the number of the first layer above it

  // The rows of tokens[T], each below vocabulary(), in the pass's sequences, each of which starts
  // at position 0.
  absl::StatusOr<Tensor> Forward(TrainingPass& pass, std::span<const int32_t> tokens) const;
  // Given g[T,d] = ∂L/∂rows, which it overwrites: adds the gradients of the tables.
  absl::Status Backward(TrainingPass& pass, std::span<const int32_t> tokens,
                        kernels::MatrixView<float> g) const;

 private:
  TrainableParameter* tokens_ = nullptr;
  TrainableParameter* positions_ = nullptr;  // or null
  float dropout_ = 0;
  int64_t site_ = 0;
  int64_t end_layer_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_EMBEDDING_H_
