// What the forward pass keeps for the backward pass.
//
// A layer hands over each tensor that its backward pass needs, with its class, and takes it back
// there: it saves in the order of the forward pass and takes in the reverse order. The store's
// policy decides how each class is held in between. Norms and activation functions ask for the
// format of theirs, because they can use codes without decoding them.
//
// Forward values are exact whatever the store does, because only the backward pass sees what it
// gives back (SlimFit, arXiv 2305.18513).
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_ACTIVATION_STORE_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_ACTIVATION_STORE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/training/store_policy.h"
#include "engine/layers/training/tensor_heap.h"
#include "kernels/context.h"

namespace whipsnake::engine {

// Not thread-safe.
class ActivationStore {
 public:
  // The heap must outlive the store.
  ActivationStore(const StorePolicy& policy, TensorHeap* heap) : policy_(policy), heap_(heap) {}

  // The format of a class. Layers that can do better than to have a tensor decoded ask for it.
  StoreFormat format(TensorClass tensor_class) const { return policy_.format(tensor_class); }

  // Whether a class is held as codes.
  bool encodes(TensorClass tensor_class) const {
    const StoreFormat held = format(tensor_class);
    return !discarding_ && held != StoreFormat::kExact && held != StoreFormat::kDropped;
  }

  // Hands over a tensor, whose contents must not change until it is taken back. Returns
  // RESOURCE_EXHAUSTED without memory for its codes.
  absl::Status Save(const kernels::Context& context, TensorClass tensor_class, Tensor tensor);
  // The same for a tensor that is held as it is under every policy.
  void SaveExactly(TensorClass tensor_class, Tensor tensor);
  // Returns the last saved tensor that has not been taken: equal to what was saved or, in another
  // format than kExact, close to it. Whether the caller may write to it is undefined. An empty
  // tensor means that the class is dropped: the layer must compute it again. Returns
  // RESOURCE_EXHAUSTED without memory for the decoded tensor.
  absl::StatusOr<Tensor> Take(const kernels::Context& context);

  // The model calls these around the forward pass of each block that the backward pass reaches,
  // with the block's input ...
  absl::Status BeginBlock(const kernels::Context& context, const Tensor& input);
  void EndBlock() { discarding_ = policy_.discard; }
  // ... and this before its backward pass: returns the input if the block's forward pass must run
  // again, which then saves what the backward pass takes; otherwise an empty tensor.
  absl::StatusOr<Tensor> InputToRecompute(const kernels::Context& context);

  bool empty() const { return saved_.empty(); }
  // The elements that were beyond the range of fixed point, and were cut to it.
  int64_t saturated() const { return saturated_; }

 private:
  struct Saved {
    StoreFormat format = StoreFormat::kExact;
    Tensor tensor;               // or its codes
    int64_t rows = 0, cols = 0;  // of the decoded tensor
  };

  const StorePolicy policy_;
  TensorHeap* const heap_;
  bool discarding_ = policy_.discard;
  std::vector<Saved> saved_;
  int64_t saturated_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_ACTIVATION_STORE_H_
