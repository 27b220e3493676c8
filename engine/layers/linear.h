// A linear layer, y = f(W x + b), with float weights or codes.
//
// Letters: T rows (tokens), N outputs, K inputs.
#ifndef WHIPSNAKE_ENGINE_LAYERS_LINEAR_H_
#define WHIPSNAKE_ENGINE_LAYERS_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
#include "kernels/activation/activation.h"
#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::engine {

// Immutable; movable; thread-safe.
class Linear {
 public:
  struct Shape {
    int64_t outputs = 0, inputs = 0;
    // Whether float weights are stored as [K,N], as in GPT-2's Conv1D. Codes are always [N,K].
    bool transposed = false;
  };

  // Loads the tensors `name` + ".weight", held as `type` (kF32 or kBF16), and ".bias" [N]. If the
  // inputs are codes, ".weight" is replaced by ".qweight" [N,K], ".scale" (one per output or one
  // for all) and, for static codes, ".input_scale". Errors as from WeightLoader.
  static absl::StatusOr<Linear> Load(WeightLoader& loader, const std::string& name,
                                     const Shape& shape, kernels::DType type, Inputs inputs);

  // x[T,K] must have the form that the layer was loaded for. y[T,N] must not alias it.
  void Forward(const kernels::Context& context, const Rows& x, kernels::MatrixView<float> y,
               kernels::ActivationFunction f = {}) const;
  // Writes the codes of y, ToCode(y / scale). Only for layers whose inputs are codes.
  void Forward(const kernels::Context& context, const Rows& x, float scale,
               kernels::MatrixView<int8_t> y, kernels::ActivationFunction f = {}) const;

  // The scale of x if it is static codes, else 1.
  float input_scale() const { return input_scale_; }

  // Appends every weight that Forward reads.
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const;

 private:
  kernels::SumScaling Scaling(const Rows& x, kernels::ActivationFunction f) const;

  WeightMatrix weight_;  // [N,K]
  Buffer bias_;          // [N]
  Buffer multiplier_;    // [N], only for codes: the row's scale, times the scale of static inputs
  float input_scale_ = 1;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_LINEAR_H_
