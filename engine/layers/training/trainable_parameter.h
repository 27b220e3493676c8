// The parameters of a model in training: writable copies in fp32, in the checkpoint's shapes.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_PARAMETER_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_PARAMETER_H_

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
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_PARAMETER_H_
