// The norm of a residual stream, RMSNorm or LayerNorm, in the form that the product after it wants.
#ifndef WHIPSNAKE_ENGINE_LAYERS_NORM_H_
#define WHIPSNAKE_ENGINE_LAYERS_NORM_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
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

  // γ is `name` + ".weight" and LayerNorm's β `name` + ".bias", both divided by `scale`: that of
  // the codes which come out.
  static absl::StatusOr<Norm> Load(WeightLoader& loader, const std::string& name,
                                   const Shape& shape, float scale = 1);

  // residual[T,d] += h[T,d] (or nothing, where that is empty); out = norm(residual), which may
  // alias h but for the norm of codes. RMSNorm has no dynamic codes.
  void Forward(kernels::MatrixView<const float> h, kernels::MatrixView<float> residual,
               const Rows& out) const;

  // Appends every weight that Forward reads.
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const;

 private:
  Shape shape_;
  Buffer gamma_, beta_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_NORM_H_
