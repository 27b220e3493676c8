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
    // Float weights lie as GPT-2's Conv1D stores them, [K,N]; codes always as [N,K].
    bool transposed = false;
  };

  // Tensors: `name` + ".weight" in `type` (kF32 or kBF16) or, for inputs that are codes, ".qweight"
  // [N,K], ".scale" (of each output or of all) and, where they are static, ".input_scale";
  // ".bias"[N].
  static absl::StatusOr<Linear> Load(WeightLoader& loader, const std::string& name,
                                     const Shape& shape, kernels::DType type, Inputs inputs);

  // x[T,K] in the form that the layer was loaded for; y[T,N] may not alias it.
  void Forward(const Rows& x, kernels::MatrixView<float> y,
               kernels::ActivationFunction f = {}) const;
  // The codes of y: ToCode(y / scale). Of a layer of codes.
  void Forward(const Rows& x, float scale, kernels::MatrixView<int8_t> y,
               kernels::ActivationFunction f = {}) const;

  // Of static codes of x.
  float input_scale() const { return input_scale_; }

  // Appends every weight that Forward reads.
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const;

 private:
  kernels::SumScaling Scaling(const Rows& x, kernels::ActivationFunction f) const;

  WeightMatrix weight_;  // [N,K]
  Buffer bias_;          // [N]
  Buffer multiplier_;    // [N], of codes: the scale of the row, times that of static inputs
  float input_scale_ = 1;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_LINEAR_H_
