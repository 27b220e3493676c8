// The norm of a residual stream, RMSNorm or LayerNorm, in the form that the next product needs.
#ifndef WHIPSNAKE_ENGINE_LAYERS_NORM_H_
#define WHIPSNAKE_ENGINE_LAYERS_NORM_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/parameter.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

enum class NormKind { kRms, kLayer };

// Immutable; movable; thread-safe.
class Norm {
 public:
  struct Shape {
    NormKind kind = NormKind::kRms;
    int64_t width = 0;
    float epsilon = 0;
  };

  // Loads γ from `name` + ".weight" and LayerNorm's β from `name` + ".bias". Both are divided by
  // `scale`, the scale of the output codes. Errors as from WeightLoader.
  static absl::StatusOr<Norm> Load(WeightLoader& loader, const std::string& name,
                                   const Shape& shape, float scale = 1);

  // residual[T,d] += h[T,d], unless h is empty; out = norm(residual). out may alias h unless it
  // holds codes. RMSNorm does not support dynamic codes.
  void Forward(const kernels::Context& context, kernels::MatrixView<const float> h,
               kernels::MatrixView<float> residual, const Rows& out) const;

  void VisitParameters(ParameterVisitor visit) const;

 private:
  std::string name_;
  Shape shape_;
  Buffer gamma_, beta_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_NORM_H_
