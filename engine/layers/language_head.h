// The end of a language model: the last norm and the product with the head's weight.
//
//   u = γ_f ∘ RMSNorm(r + h);  logits = W u
//
// Letters: R rows whose logits are wanted, V tokens, d model width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_LANGUAGE_HEAD_H_
#define WHIPSNAKE_ENGINE_LAYERS_LANGUAGE_HEAD_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/arena.h"
#include "engine/layers/embedding.h"
#include "engine/layers/weights.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

struct LanguageHeadShape {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  float norm_epsilon = 0;
};

// Immutable; movable. In fp32, bf16 or int8: as the weight is held. In int8, u becomes codes of one
// scale and the logits are fp32.
class LanguageHead {
 public:
  // The norm is "backbone.norm_f.weight". A tied head's weight is the table of `embedding`, the
  // tensor `embedding_name`, which outlives it; an untied one's is "lm_head.weight", held as
  // `type`.
  static absl::StatusOr<LanguageHead> Load(WeightLoader& loader, const LanguageHeadShape& shape,
                                           const Embedding& embedding,
                                           const std::string& embedding_name, bool tied,
                                           kernels::DType type);

  // residual[R,d] += h[R,d]; logits[R,V]. h is overwritten by u. `scratch` has ScratchBytes(R).
  void Forward(kernels::MatrixView<float> h, kernels::MatrixView<float> residual, Arena scratch,
               kernels::MatrixView<float> logits) const;
  int64_t ScratchBytes(int64_t rows) const;

  // Appends every weight that Forward reads.
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const;

 private:
  const kernels::WeightView& weight() const { return untied_.view().data ? untied_.view() : tied_; }

  float norm_epsilon_ = 0;
  Buffer norm_;  // γ_f[d], for codes divided by their scale
  kernels::WeightView tied_;
  WeightMatrix untied_;  // [V,d] or empty
  Buffer multiplier_;    // [V], of codes alone: the scale of u times that of the row
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_LANGUAGE_HEAD_H_
