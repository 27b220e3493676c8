#include "engine/layers/language_head.h"

#include <string>

#include "engine/base/status.h"
#include "kernels/matmul/matmul.h"
#include "kernels/quantized_matmul/quantized_matmul.h"
#include "kernels/rms_norm/rms_norm.h"

namespace whipsnake::engine {

using kernels::DType;
using kernels::MatrixView;

constexpr const char* kNorm = "backbone.norm_f.weight";
constexpr const char* kWeight = "lm_head.weight";
constexpr const char* kInputScale = "lm_head.input_scale";

absl::StatusOr<LanguageHead> LanguageHead::Load(WeightLoader& loader,
                                                const LanguageHeadShape& shape,
                                                const Embedding& embedding,
                                                const std::string& embedding_name, bool tied,
                                                DType type) {
  const int64_t V = shape.vocab_size, d = shape.hidden_size;
  LanguageHead head;
  head.norm_epsilon_ = shape.norm_epsilon;
  if (tied) {
    head.tied_ = embedding.table().view();
  } else {
    ASSIGN_OR_RETURN(head.untied_, loader.Matrix(kWeight, V, d, type));
  }
  if (type != DType::kI8) {
    ASSIGN_OR_RETURN(head.norm_, loader.Floats(kNorm, {d}));
    return head;
  }
  ASSIGN_OR_RETURN(const float input_scale, loader.Scale(kInputScale));
  const int64_t norm_shape[] = {d};
  ASSIGN_OR_RETURN(const std::vector<float> norm, loader.Values(kNorm, norm_shape));
  ASSIGN_OR_RETURN(head.norm_,
                   loader.Derived(kNorm, d, [&](int64_t i) { return norm[i] / input_scale; }));
  const std::string scale_name = ScaleName(tied ? embedding_name : kWeight);
  ASSIGN_OR_RETURN(const std::vector<float> scale, loader.Scales(scale_name, V));
  ASSIGN_OR_RETURN(head.multiplier_, loader.Derived("the head's scales", V, [&](int64_t token) {
    return input_scale * scale[token];
  }));
  return head;
}

int64_t LanguageHead::ScratchBytes(int64_t rows) const {
  Arena arena;
  if (weight().dtype == DType::kI8) arena.Matrix<int8_t>(rows, norm_.size() / sizeof(float));
  return arena.bytes();
}

void LanguageHead::Forward(MatrixView<float> h, MatrixView<float> residual, Arena scratch,
                           MatrixView<float> logits) const {
  const float* norm = norm_.as<float>();
  if (weight().dtype != DType::kI8) {
    kernels::ResidualRmsNorm(h, residual, norm, norm_epsilon_, h);
    kernels::Matmul(h, weight(), nullptr, logits);
    return;
  }
  const auto u = scratch.Matrix<int8_t>(h.rows, h.cols);
  kernels::ResidualRmsNorm(h, residual, norm, norm_epsilon_, u);
  kernels::QuantizedMatmul(u, weight(), multiplier_.as<float>(), nullptr, logits);
}

void LanguageHead::AppendWeights(std::vector<std::span<const std::byte>>& weights) const {
  weights.push_back(norm_.bytes());
  const kernels::WeightView& view = weight();
  weights.push_back({static_cast<const std::byte*>(view.data), static_cast<size_t>(view.bytes())});
  if (multiplier_.size() > 0) weights.push_back(multiplier_.bytes());
}

}  // namespace whipsnake::engine
