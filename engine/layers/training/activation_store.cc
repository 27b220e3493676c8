#include "engine/layers/training/activation_store.h"

#include <utility>

namespace whipsnake::engine {

void ActivationStore::Save(TensorClass tensor_class, Tensor tensor) {
  if (discarding_) return;
  tensor.SetClass(tensor_class);
  saved_.push_back(std::move(tensor));
}

Tensor ActivationStore::Take() {
  Tensor tensor = std::move(saved_.back());
  saved_.pop_back();
  return tensor;
}

void ActivationStore::BeginBlock(const Tensor& input) {
  if (policy_ != StorePolicy::kRecompute) return;
  Save(TensorClass::kBlockInput, input);
  discarding_ = true;
}

Tensor ActivationStore::InputToRecompute() {
  return policy_ == StorePolicy::kRecompute ? Take() : Tensor();
}

}  // namespace whipsnake::engine
