// One forward pass of a batch, and the backward pass that may follow it.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINING_PASS_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINING_PASS_H_

#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/layers/training/activation_store.h"
#include "engine/layers/training/gradients.h"
#include "engine/layers/training/pass_cost.h"
#include "engine/layers/training/tensor_heap.h"
#include "kernels/context.h"
#include "kernels/dropout/dropout.h"
#include "kernels/dtype.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// Owns nothing; everything must outlive the pass.
struct TrainingPass {
  kernels::Context context;
  TensorHeap* heap = nullptr;
  ActivationStore* store = nullptr;
  Gradients* gradients = nullptr;  // null for a pass without a backward pass
  // The sequences of the batch, which cover its rows [0,T) in order. There is no padding.
  std::span<const kernels::RowRange> sequences = {};
  kernels::DType arithmetic = kernels::DType::kF32;  // of matrix products: kF32 or kBF16
  bool dropout = false;                              // whether layers drop elements
  uint64_t seed = 0;                                 // of the masks of the training run
  uint64_t number = 0;                               // of the pass in the run, below 2^40
  // The lowest layer that trains, as TrainableParameters numbers them. The backward pass ends
  // there, so that nothing below it is saved.
  int64_t lowest_layer = 0;
  PassCost* cost = nullptr;  // to which the pass adds what it computes, or null

  absl::StatusOr<Tensor> New(int64_t rows, int64_t cols) const { return heap->New(rows, cols); }

  // Runs work(), which computes with the heap's tensors and costs `work_cost`, and then lets more
  // urgent work in. Operations that take long let it in themselves, between their pieces. A pass in
  // a heap without memory is a plan: it makes and frees all its tensors and computes nothing.
  template <typename Work>
  void Compute(const PassCost& work_cost, const Work& work) const {
    if (cost != nullptr) *cost += work_cost;
    if (!heap->has_memory()) return;
    work();
    kernels::Pause(context);
  }

  absl::Status Save(TensorClass tensor_class, Tensor tensor) const {
    if (cost != nullptr && store->encodes(tensor_class)) {  // and decodes later
      *cost += PassCost::Numbers(2 * tensor.elements());
    }
    return store->Save(context, tensor_class, std::move(tensor));
  }
  absl::StatusOr<Tensor> Take() const { return store->Take(context); }

  // Whether the backward pass goes on below a layer, so that the derivative for its input and what
  // lies between it and the layer below is needed.
  bool GoesBelow(int64_t layer) const { return lowest_layer < layer; }

  // The mask of the dropout layer `site`, below 2^24, of the model. The same in the forward pass,
  // in a recomputed one and in the backward pass.
  kernels::DropoutMask Mask(int64_t site, float probability) const {
    return {.probability = dropout ? probability : 0.0f,
            .seed = seed,
            .stream = number << 24 | static_cast<uint64_t>(site)};
  }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINING_PASS_H_
