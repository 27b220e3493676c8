// The parameters of a model in training: writable copies in fp32, in the checkpoint's shapes.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_PARAMETER_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_PARAMETER_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/parameter.h"
#include "engine/layers/training/tensor_heap.h"
#include "kernels/context.h"
#include "kernels/dtype.h"
#include "kernels/product/product.h"

namespace whipsnake::engine {

struct TrainableParameter {
  std::string name;            // of the tensor in the result: "transformer.h.0.ln_1.weight"
  std::vector<int64_t> shape;  // in the checkpoint
  ParameterRole role = ParameterRole::kMatrix;
  Buffer value;        // fp32
  Buffer rounded;      // of the value to bf16, if products compute in bf16 with it; else empty
  bool trains = true;  // whether this step wants its gradient
  int uses = 0;        // the layers that have it: a tied embedding is in two

  int64_t elements() const { return ElementCount(shape); }
  float* data() const { return value.as<float>(); }
  // The value as a matrix of shape[0] rows.
  kernels::MatrixView<const float> matrix() const {
    return {data(), shape[0], elements() / shape[0]};
  }
  // The operand of a product: the rounded value if there is one.
  kernels::ProductOperand operand() const;
};

// What trains or is frozen together: a weight and what belongs to it, such as its bias.
struct TrainableLayer {
  std::string name;                                  // of the weight, without ".weight"
  int64_t block = -1;                                // the index of its block; -1: of no block
  std::vector<TrainableParameter*> parameters = {};  // the weight first
  // The class and width of the input that is saved only if the weight trains; width 0: none is.
  TensorClass input = TensorClass::kTransient;
  int64_t input_width = 0;
  // The class as which the same numbers are saved if the weight does not train, unless their format
  // drops them; kTransient: none.
  TensorClass held_as = TensorClass::kTransient;

  bool trains() const {
    return std::ranges::any_of(parameters, [](const auto* parameter) { return parameter->trains; });
  }
};

// Addresses of its parameters are stable. Not thread-safe.
class TrainableParameters {
 public:
  // Products compute in `arithmetic`, kF32 or kBF16. The ledger must outlive the parameters.
  TrainableParameters(kernels::DType arithmetic, Ledger* ledger)
      : arithmetic_(arithmetic), ledger_(ledger) {}

  // Adds a parameter of zeros. Returns RESOURCE_EXHAUSTED if the ledger refuses.
  absl::StatusOr<TrainableParameter*> Add(std::string name, std::vector<int64_t> shape,
                                          ParameterRole role);

  // Returns the parameter and counts a layer that uses it. Returns INTERNAL if there is none: a
  // family's layers must ask for what its ParameterSpecs declare.
  absl::StatusOr<TrainableParameter*> Use(std::string_view name);
  // The same for an operand of products, which gets a rounded copy if they compute in bf16. Also
  // returns RESOURCE_EXHAUSTED.
  absl::StatusOr<TrainableParameter*> UseInProducts(std::string_view name);

  // The layers that are added from now on are of this block; -1: of none.
  void SetBlock(int64_t block) { block_ = block; }
  // Adds a layer above those that there are, and returns its number, from 0. A weight that is in a
  // layer already, such as that of a tied head, keeps that layer; the number returned is then that
  // of the next layer, because it says where in the forward pass the weight is used.
  int64_t AddLayer(TrainableLayer layer);
  const std::vector<TrainableLayer>& layers() const { return layers_; }
  // Adds a parameter that belongs to a layer's weight.
  void AddToLayer(int64_t layer, TrainableParameter* parameter) {
    layers_[layer].parameters.push_back(parameter);
  }
  // The number of the lowest layer that trains; that of layers if none does.
  int64_t LowestTrainingLayer() const;

  // Returns null if there is no such parameter.
  TrainableParameter* Find(std::string_view name);

  // Makes the rounded copies equal to the values. For values that were written by other means than
  // an optimizer's update, which rounds too.
  void Round(const kernels::Context& context);

  // In the order in which they were added.
  std::deque<TrainableParameter>& all() { return all_; }
  const std::deque<TrainableParameter>& all() const { return all_; }

 private:
  const kernels::DType arithmetic_;
  Ledger* const ledger_;
  std::deque<TrainableParameter> all_;
  std::map<std::string, TrainableParameter*, std::less<>> by_name_;
  std::vector<TrainableLayer> layers_;
  int64_t block_ = -1;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_PARAMETER_H_
