// A linear layer, y = f(W x + b), with float weights or codes.
//
// With codes as inputs, the scales of weight and inputs are multiplied into the sums. If the
// outputs are codes too and f is the identity, so is the inverse of their scales, one per output:
// finer scales then cost nothing (Quamba, arXiv 2410.13229, section 4).
//
// Letters: T rows (tokens), N outputs, K inputs.
#ifndef WHIPSNAKE_ENGINE_LAYERS_LINEAR_H_
#define WHIPSNAKE_ENGINE_LAYERS_LINEAR_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/parameter.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
#include "kernels/activation/activation.h"
#include "kernels/context.h"
#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::engine {

// Immutable; movable; thread-safe.
class Linear {
 public:
  struct Shape {
    int64_t outputs = 0, inputs = 0;
    bool bias = true;
    // Whether float weights are stored as [K,N], as in GPT-2's Conv1D. Codes are always [N,K].
    bool transposed = false;
  };

  // Loads the tensors `name` + ".weight", held as `type` (kF32 or kBF16), and ".bias" [N]. If the
  // inputs are codes, ".weight" is replaced by ".qweight" [N,K], ".scale" (one per output or one
  // for all) and, for static codes, ".input_scale". `output_scales`, [N] or empty, are the scales
  // of outputs that are codes. Errors as from WeightLoader.
  static absl::StatusOr<Linear> Load(WeightLoader& loader, const std::string& name,
                                     const Shape& shape, kernels::DType type, Inputs inputs,
                                     std::span<const float> output_scales = {});

  // x[T,K] must have the form that the layer was loaded for. y[T,N] must not alias it.
  void Forward(const kernels::Context& context, const Rows& x, kernels::MatrixView<float> y,
               kernels::ActivationFunction f = {}) const;
  // Writes the codes of y, ToCode(y / scale), for a layer whose inputs are codes. The scale is 1 if
  // the layer was loaded with output_scales.
  void Forward(const kernels::Context& context, const Rows& x, float scale,
               kernels::MatrixView<int8_t> y, kernels::ActivationFunction f = {}) const;

  // Writes y in the form of its non-empty matrix: floats, or codes for a layer loaded with
  // output_scales.
  void Forward(const kernels::Context& context, const Rows& x, const Rows& y) const;

  // The scale of x if it is static codes, else 1.
  float input_scale() const { return input_scale_; }

  void VisitParameters(ParameterVisitor visit) const;

 private:
  kernels::SumScaling Scaling(const Rows& x, kernels::ActivationFunction f) const;

  std::string name_;
  Shape shape_;
  WeightMatrix weight_;  // [N,K]
  Buffer bias_;          // [N] or empty, divided by output_scales
  // [N], only for codes: the row's scale, times the scale of static inputs, divided by
  // output_scales
  Buffer multiplier_;
  float input_scale_ = 1;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_LINEAR_H_
