// The cross-entropy of a head's outputs, computed in blocks of rows.
//
// The logits of a vocabulary are by far the largest matrix of a model: 50,257 columns for each
// token. Only those of one block of rows exist at a time, with their derivative in their place.
//
// Letters: T rows (tokens) of the batch, R rows that have a target, V outputs, d model width.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_HEAD_LOSS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_HEAD_LOSS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/layers/training/tensor_heap.h"
#include "engine/layers/training/trainable_linear.h"
#include "engine/layers/training/training_pass.h"

namespace whipsnake::engine {

// What rows of a batch should predict.
struct HeadTargets {
  std::vector<int64_t> rows;     // [R], in [0,T)
  std::vector<int32_t> targets;  // [R], in [0,V)

  int64_t size() const { return std::ssize(rows); }
  void Add(int64_t row, int32_t target) {
    rows.push_back(row);
    targets.push_back(target);
  }
};

struct HeadLosses {
  std::vector<float> losses;         // [R], in nats, with smoothing
  std::vector<int32_t> predictions;  // [R]: the most likely output
};

// The losses for the head's inputs u[T,d]. `smoothing` is that of kernels::CrossEntropy.
absl::StatusOr<HeadLosses> ComputeLosses(const TrainingPass& pass, const TrainableLinear& head,
                                         const Tensor& u, const HeadTargets& targets,
                                         float smoothing);

// The same; also returns in `gu`[T,d] the derivative of Σ factors[i] · losses[i] for u, unless the
// backward pass ends at the head, and adds that for the head's parameters to their gradients.
absl::StatusOr<HeadLosses> ComputeLossesAndGradients(TrainingPass& pass,
                                                     const TrainableLinear& head, const Tensor& u,
                                                     const HeadTargets& targets, float smoothing,
                                                     std::span<const float> factors, Tensor* gu);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_HEAD_LOSS_H_
