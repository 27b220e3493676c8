// The head of a language model: the last norm and the product with the head's weight.
//
//   u = norm(r + h);  logits = W u
//
// Letters: R rows whose logits are wanted, V tokens (or labels of a classifier), d model width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_LANGUAGE_HEAD_H_
#define WHIPSNAKE_ENGINE_LAYERS_LANGUAGE_HEAD_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/arena.h"
#include "engine/layers/block.h"
#include "engine/layers/embedding.h"
#include "engine/layers/norm.h"
#include "engine/layers/parameter.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// Immutable; movable. The weight is held in fp32, bf16 or int8.
class LanguageHead {
 public:
  struct Shape {
    int64_t outputs = 0;  // V
    Norm::Shape norm;
    std::string norm_name;    // "backbone.norm_f"
    std::string weight_name;  // "lm_head.weight" or, if tied, the name of the embedding's table
    bool tied = false;
    kernels::DType type = kernels::DType::kF32;
    // The form of u. The scale of static codes is in "lm_head.input_scale".
    Inputs inputs = Inputs::kFloats;
    // Makes a row's logits bit-identical for any number of rows, as they always are with codes.
    // This takes more time above 16 rows of floats.
    bool batch_invariant = false;
  };

  // The weight of a tied head is the table of `embedding`, which must outlive the head. If the
  // checkpoint also has "lm_head.weight", as some do, it must have the same values. Errors as from
  // WeightLoader.
  static absl::StatusOr<LanguageHead> Load(WeightLoader& loader, const Shape& shape,
                                           const Embedding& embedding);

  // logits[R,V] = W norm(stream). Adds the pending addend to the stream and overwrites it with u,
  // if that is floats. `scratch` must have ScratchBytes(R) bytes.
  void Forward(const kernels::Context& context, ResidualStream& stream, Arena scratch,
               kernels::MatrixView<float> logits) const;
  int64_t ScratchBytes(int64_t rows) const;

  bool tied() const { return untied_.view().data == nullptr; }
  // Visits the norm, the scales of codes and, unless it is tied, the weight.
  void VisitParameters(ParameterVisitor visit) const;

 private:
  const kernels::WeightView& weight() const { return tied() ? tied_ : untied_.view(); }

  std::string name_;  // of the weight
  int64_t width_ = 0;
  Inputs inputs_ = Inputs::kFloats;
  bool batch_invariant_ = false;
  Norm norm_;
  kernels::WeightView tied_;
  WeightMatrix untied_;  // [V,d] or empty
  Buffer multiplier_;    // [V], only for codes: the row's scale, times the scale of static inputs
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_LANGUAGE_HEAD_H_
