// The gradients of parameters, from the first layer that adds to one until an optimizer has used
// it.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_GRADIENTS_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_GRADIENTS_H_

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/training/tensor_heap.h"
#include "engine/layers/training/trainable_parameter.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The gradients of one optimizer step, which may take several backward passes (accumulation). Not
// thread-safe.
class Gradients {
 public:
  // Where a layer writes a gradient.
  struct Target {
    kernels::MatrixView<float> matrix;  // contiguous: shape[0] rows
    bool accumulate = false;            // whether it holds a sum to add to, instead of nothing
  };
  // Called once for each parameter with a gradient, when all layers and passes have added to its
  // gradient.
  using Complete = std::function<absl::Status(TrainableParameter&, const Tensor& gradient)>;

  // With `complete`, which may be null, a gradient is freed as soon as the function returns.
  // Otherwise the gradients stay until Clear().
  Gradients(TensorHeap* heap, Complete complete) : heap_(heap), complete_(std::move(complete)) {}

  // Begins a step of `passes` backward passes.
  void BeginStep(int passes) { passes_ = passes; }

  // The gradient of a parameter that trains. Returns RESOURCE_EXHAUSTED without memory.
  absl::StatusOr<Target> Of(const TrainableParameter& parameter);
  // The same for functions that only add: zeroed at first, in `context`. Null for no parameter or
  // one that does not train.
  absl::StatusOr<float*> SumOf(const kernels::Context& context,
                               const TrainableParameter* parameter);
  // A layer calls this once in each backward pass, after it has added to the gradient of each of
  // its parameters that train. Does nothing for null.
  absl::Status Added(TrainableParameter* parameter);

  // The complete gradient of a parameter in this step, or an empty tensor if it has none.
  Tensor Get(const TrainableParameter& parameter) const;
  void Clear() { entries_.clear(); }

 private:
  struct Entry {
    Tensor tensor;
    bool holds_sum = false;
    int added = 0;
  };

  TensorHeap* const heap_;
  const Complete complete_;
  int passes_ = 1;
  std::unordered_map<const TrainableParameter*, Entry> entries_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_GRADIENTS_H_
