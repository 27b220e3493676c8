#include "engine/layers/language_head.h"

#include <string>

#include "engine/base/status.h"
#include "kernels/matmul/matmul.h"
#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::engine {

using kernels::DType;
using kernels::MatrixView;

constexpr const char* kInputScale = "lm_head.input_scale";
constexpr const char* kUntiedWeight = "lm_head.weight";

absl::StatusOr<LanguageHead> LanguageHead::Load(WeightLoader& loader, const Shape& shape,
                                                const Embedding& embedding) {
  const int64_t V = shape.outputs;
  LanguageHead head;
  head.name_ = shape.weight_name;
  head.width_ = shape.norm.width;
  head.inputs_ = shape.inputs;
  head.batch_invariant_ = shape.batch_invariant;
  if (shape.tied) {
    RETURN_IF_ERROR(loader.CheckSame(kUntiedWeight, shape.weight_name));
    head.tied_ = embedding.table().view();
  } else {
    ASSIGN_OR_RETURN(head.untied_,
                     loader.Matrix(shape.weight_name, V, shape.norm.width, shape.type));
  }
  float input_scale = 1;
  if (shape.inputs == Inputs::kStaticCodes) {
    ASSIGN_OR_RETURN(input_scale, loader.Scale(kInputScale));
  }
  ASSIGN_OR_RETURN(head.norm_, Norm::Load(loader, shape.norm_name, shape.norm, input_scale));
  if (shape.inputs == Inputs::kFloats) return head;
  ASSIGN_OR_RETURN(const std::vector<float> scale, loader.Scales(ScaleName(shape.weight_name), V));
  ASSIGN_OR_RETURN(head.multiplier_, loader.Derived("the head's scales", V, [&](int64_t token) {
    return input_scale * scale[token];
  }));
  return head;
}

int64_t LanguageHead::ScratchBytes(int64_t rows) const {
  Arena arena;
  if (inputs_ != Inputs::kFloats) Rows::LayOut(arena, inputs_, rows, width_);
  return arena.bytes();
}

void LanguageHead::Forward(const kernels::Context& context, ResidualStream& stream, Arena scratch,
                           MatrixView<float> logits) const {
  const auto addend = stream.Pending();
  stream.pending = false;
  if (inputs_ == Inputs::kFloats) {
    const MatrixView<float> u = stream.addend;
    norm_.Forward(context, addend, stream.sum, {.floats = u});
    const auto product = batch_invariant_ ? kernels::BatchInvariantMatmul : kernels::Matmul;
    return product(context, u, weight(), nullptr, logits, {});
  }
  const Rows u = Rows::LayOut(scratch, inputs_, stream.sum.rows, width_);
  norm_.Forward(context, addend, stream.sum, u);
  kernels::QuantizedMatmul(context, u.codes, weight(), {multiplier_.as<float>(), nullptr, u.scales},
                           logits);
}

void LanguageHead::VisitParameters(ParameterVisitor visit) const {
  const kernels::WeightView& view = weight();
  norm_.VisitParameters(visit);
  if (!tied()) {
    visit({name_, {view.n, view.k}, ParameterRole::kMatrix, view.format.dtype, untied_.bytes()});
  }
  VisitBuffer(visit, ScaleName(kUntiedWeight), {view.n}, ParameterRole::kCodeScale, multiplier_);
}

}  // namespace whipsnake::engine
