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
  if (inputs_ != Inputs::kFloats) Rows::Lay(arena, inputs_, rows, width_);
  return arena.bytes();
}

void LanguageHead::Forward(const kernels::Context& context, MatrixView<float> h,
                           MatrixView<float> residual, Arena scratch,
                           MatrixView<float> logits) const {
  if (inputs_ == Inputs::kFloats) {
    norm_.Forward(context, h, residual, {.floats = h});
    const auto product = batch_invariant_ ? kernels::BatchInvariantMatmul : kernels::Matmul;
    return product(context, h, weight(), nullptr, logits, {});
  }
  const Rows u = Rows::Lay(scratch, inputs_, h.rows, width_);
  norm_.Forward(context, h, residual, u);
  kernels::QuantizedMatmul(context, u.codes, weight(), {multiplier_.as<float>(), nullptr, u.scales},
                           logits);
}

void LanguageHead::AppendWeights(std::vector<std::span<const std::byte>>& weights) const {
  norm_.AppendWeights(weights);
  const kernels::WeightView& view = weight();
  weights.push_back({static_cast<const std::byte*>(view.data), static_cast<size_t>(view.bytes())});
  if (multiplier_.size() > 0) weights.push_back(multiplier_.bytes());
}

}  // namespace whipsnake::engine
