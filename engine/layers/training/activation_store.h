// What the forward pass keeps for the backward pass.
//
// A layer hands over each tensor that its backward pass needs, with its class, and takes it back
// there. The store alone decides how the tensor is held in between. Layers do not know: they save
// in the order of the forward pass and take in the reverse order.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_ACTIVATION_STORE_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_ACTIVATION_STORE_H_

#include <vector>

#include "engine/layers/training/tensor_heap.h"

namespace whipsnake::engine {

// What a store does with the tensors of the blocks.
enum class StorePolicy {
  kKeep,       // holds them as they are
  kRecompute,  // holds the input of each block only; the block's forward pass runs again before its
               // backward pass (gradient checkpointing: Chen et al., arXiv 1604.06174)
  kDiscard,    // holds nothing: for passes without a backward pass
};

// Not thread-safe.
class ActivationStore {
 public:
  explicit ActivationStore(StorePolicy policy) : policy_(policy) {}

  // Hands over a tensor. Its contents must not change until it is taken back.
  void Save(TensorClass tensor_class, Tensor tensor);
  // Returns the last saved tensor that has not been taken. What the caller gets is equal to what
  // was saved or, under an approximating policy, close to it; whether it may write to it is
  // undefined.
  Tensor Take();

  // The model calls these around the forward pass of each block, with the block's input ...
  void BeginBlock(const Tensor& input);
  void EndBlock() { discarding_ = policy_ == StorePolicy::kDiscard; }
  // ... and this before its backward pass: returns the input if the block's forward pass must run
  // again, which then saves what the backward pass takes; otherwise an empty tensor.
  Tensor InputToRecompute();

  bool empty() const { return saved_.empty(); }

 private:
  const StorePolicy policy_;
  bool discarding_ = policy_ == StorePolicy::kDiscard;
  std::vector<Tensor> saved_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_ACTIVATION_STORE_H_
