#include "engine/layers/training/trainable_transformer_block.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/layers/training/trainable_activation.h"
#include "engine/layers/training/trainable_linear.h"
#include "engine/layers/training/trainable_norm.h"
#include "engine/layers/training/write_zeros.h"
#include "kernels/addition/addition.h"
#include "kernels/dropout/dropout.h"
#include "kernels/sequence_attention/sequence_attention.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

class TrainableTransformerBlock : public TrainableBlock {
 public:
  TrainableTransformerBlock(const TransformerBlockConfig& config, int64_t heads,
                            const TransformerDropout& dropout, int64_t first_site)
      : config_(config), heads_(heads), dropout_(dropout), first_site_(first_site) {}

  absl::Status Make(TrainableParameters& parameters, const std::string& prefix);

  absl::StatusOr<Tensor> Forward(TrainingPass& pass, Tensor x) const override {
    ASSIGN_OR_RETURN(x, Sublayer(pass, attention_norm_, kAttentionOutput, x,
                                 [&](const Tensor& u) { return Attend(pass, u); }));
    return Sublayer(pass, feed_forward_norm_, kFeedForwardOutput, x,
                    [&](const Tensor& u) { return FeedForward(pass, u); });
  }

  absl::Status Backward(TrainingPass& pass, MatrixView<float> g) const override {
    RETURN_IF_ERROR(SublayerBackward(pass, feed_forward_norm_, kFeedForwardOutput, g,
                                     [&](MatrixView<const float> gout, MatrixView<float> gu) {
                                       return FeedForwardBackward(pass, gout, gu);
                                     }));
    if (!pass.GoesBelow(attention_end_)) return absl::OkStatus();
    return SublayerBackward(pass, attention_norm_, kAttentionOutput, g,
                            [&](MatrixView<const float> gout, MatrixView<float> gu) {
                              return AttendBackward(pass, gout, gu);
                            });
  }

 private:
  // Sites of dropout, from first_site_ on.
  enum Site { kAttentionWeights, kAttentionOutput, kFeedForwardOutput };

  kernels::DropoutMask Mask(const TrainingPass& pass, Site site) const {
    return pass.Mask(first_site_ + site,
                     site == kAttentionWeights ? dropout_.attention : dropout_.residual);
  }

  // x + dropout(layer(norm(x))), or norm(x + dropout(layer(x))) if the norms come after the layers.
  template <typename Layer>
  absl::StatusOr<Tensor> Sublayer(TrainingPass& pass, const TrainableNorm& norm, Site site,
                                  const Tensor& x, const Layer& layer) const;
  // Replaces g, the derivative for the sublayer's output, by that for its input.
  // layer_backward(gout, gu) writes the derivative for the layer's input to gu.
  template <typename LayerBackward>
  absl::Status SublayerBackward(TrainingPass& pass, const TrainableNorm& norm, Site site,
                                MatrixView<float> g, const LayerBackward& layer_backward) const;

  kernels::SequenceAttentionOperands AttentionOperands(const TrainingPass& pass,
                                                       MatrixView<const float> qkv) const;
  // Writes y[T,d] and row_sums[T,heads].
  void ComputeAttention(const TrainingPass& pass, const Tensor& qkv, const Tensor& y,
                        const Tensor& row_sums) const;
  PassCost AttentionCost(const TrainingPass& pass, int products) const;
  absl::StatusOr<Tensor> Attend(TrainingPass& pass, const Tensor& u) const;
  absl::Status AttendBackward(TrainingPass& pass, MatrixView<const float> gout,
                              MatrixView<float> gu) const;
  absl::StatusOr<Tensor> FeedForward(TrainingPass& pass, const Tensor& u) const;
  absl::Status FeedForwardBackward(TrainingPass& pass, MatrixView<const float> gout,
                                   MatrixView<float> gu) const;

  const TransformerBlockConfig config_;
  const int64_t heads_;
  const TransformerDropout dropout_;
  const int64_t first_site_;
  TrainableNorm attention_norm_, feed_forward_norm_;
  std::vector<TrainableLinear> attention_inputs_;
  TrainableLinear attention_output_, feed_forward_input_, feed_forward_output_;
  TrainableActivation activation_;
  int64_t attention_end_ = 0;  // the number of the first layer above the attention sublayer
};

absl::Status TrainableTransformerBlock::Make(TrainableParameters& parameters,
                                             const std::string& prefix) {
  const TransformerNames& names = config_.names;
  const bool before = config_.norm_placement == NormPlacement::kBefore;
  const auto linear = [&](const std::string& name, bool bias) {
    return TrainableLinear::Make(parameters, prefix + name,
                                 {.bias = bias, .transposed = config_.transposed_weights});
  };
  // Layers are made in the order of the forward pass, which numbers them.
  const auto with_norm = [&](const std::string& name, TrainableNorm& norm,
                             const auto& make_layer) -> absl::Status {
    if (!before) RETURN_IF_ERROR(make_layer());
    ASSIGN_OR_RETURN(norm, TrainableNorm::Make(parameters, prefix + name, NormKind::kLayer,
                                               config_.norm_epsilon));
    return before ? make_layer() : absl::OkStatus();
  };
  RETURN_IF_ERROR(with_norm(names.attention_norm, attention_norm_, [&]() -> absl::Status {
    for (const std::string& name : names.attention_inputs) {
      ASSIGN_OR_RETURN(attention_inputs_.emplace_back(), linear(name, config_.attention_bias));
    }
    ASSIGN_OR_RETURN(attention_output_,
                     TrainableLinear::Make(parameters, prefix + names.attention_output,
                                           {.bias = config_.attention_bias,
                                            .transposed = config_.transposed_weights,
                                            .held_as = TensorClass::kAttentionOutput}));
    return absl::OkStatus();
  }));
  attention_end_ = std::ssize(parameters.layers());
  return with_norm(names.feed_forward_norm, feed_forward_norm_, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(feed_forward_input_,
                     linear(names.feed_forward_input, config_.feed_forward_bias));
    TrainableParameter* epsilon = nullptr;
    if (config_.activation.activation == kernels::Activation::kCRRelu) {
      ASSIGN_OR_RETURN(epsilon, parameters.Use(prefix + names.activation + kEpsilonNames[0]));
      parameters.AddToLayer(feed_forward_input_.layer(), epsilon);
    }
    activation_ = TrainableActivation(config_.activation.activation, epsilon);
    ASSIGN_OR_RETURN(feed_forward_output_,
                     TrainableLinear::Make(parameters, prefix + names.feed_forward_output,
                                           {.bias = config_.feed_forward_bias,
                                            .transposed = config_.transposed_weights,
                                            .input = TensorClass::kInnerProductInput}));
    return absl::OkStatus();
  });
}

template <typename Layer>
absl::StatusOr<Tensor> TrainableTransformerBlock::Sublayer(TrainingPass& pass,
                                                           const TrainableNorm& norm, Site site,
                                                           const Tensor& x,
                                                           const Layer& layer) const {
  const bool before = config_.norm_placement == NormPlacement::kBefore;
  Tensor u = x;
  if (before) {
    ASSIGN_OR_RETURN(u, norm.Forward(pass, x));
  }
  ASSIGN_OR_RETURN(Tensor sum, layer(u));
  pass.Compute(PassCost::Numbers(3 * x.elements()),
               [&] { kernels::AddDropout(pass.context, Mask(pass, site), *sum, *x, *sum); });
  if (before) return sum;
  return norm.Forward(pass, sum);
}

template <typename LayerBackward>
absl::Status TrainableTransformerBlock::SublayerBackward(
    TrainingPass& pass, const TrainableNorm& norm, Site site, MatrixView<float> g,
    const LayerBackward& layer_backward) const {
  const bool before = config_.norm_placement == NormPlacement::kBefore;
  ASSIGN_OR_RETURN(const Tensor gu, pass.New(g.rows, g.cols));
  if (!before) {  // g becomes the derivative for the norm's input
    pass.Compute(PassCost::Numbers(3 * gu.elements()), [&] {
      kernels::Dropout(pass.context, {}, g, *gu);  // of nothing: a copy
      WriteZeros(pass.context, g.data, gu.elements());
    });
    RETURN_IF_ERROR(norm.Backward(pass, *gu, g));
  }
  if (Mask(pass, site).probability > 0) {
    ASSIGN_OR_RETURN(const Tensor gout, pass.New(g.rows, g.cols));
    pass.Compute(PassCost::Numbers(2 * gu.elements()),
                 [&] { kernels::Dropout(pass.context, Mask(pass, site), g, *gout); });
    RETURN_IF_ERROR(layer_backward(*gout, *gu));
  } else {
    RETURN_IF_ERROR(layer_backward(g, *gu));
  }
  if (before) return norm.Backward(pass, *gu, g);
  pass.Compute(PassCost::Numbers(3 * gu.elements()),
               [&] { kernels::Add(pass.context, g, *gu, g); });
  return absl::OkStatus();
}

kernels::SequenceAttentionOperands TrainableTransformerBlock::AttentionOperands(
    const TrainingPass& pass, MatrixView<const float> qkv) const {
  const int64_t d = config_.hidden_size;
  return {.q = qkv.Columns(0, d),
          .k = qkv.Columns(d, d),
          .v = qkv.Columns(2 * d, d),
          .heads = heads_,
          .scale = config_.attention_scale,
          .causal = config_.causal,
          .dropout = Mask(pass, kAttentionWeights)};
}

PassCost TrainableTransformerBlock::AttentionCost(const TrainingPass& pass, int products) const {
  double pairs = 0;  // of a query and a key
  for (const kernels::RowRange& sequence : pass.sequences) {
    const auto length = static_cast<double>(sequence.length);
    pairs += config_.causal ? length * (length + 1) / 2 : length * length;
  }
  return {.attention_flops = 2.0 * products * pairs * static_cast<double>(config_.hidden_size)};
}

void TrainableTransformerBlock::ComputeAttention(const TrainingPass& pass, const Tensor& qkv,
                                                 const Tensor& y, const Tensor& row_sums) const {
  pass.Compute(AttentionCost(pass, /*products=*/2), [&] {
    kernels::SequenceAttention(pass.context, pass.sequences, AttentionOperands(pass, *qkv), *y,
                               row_sums.data());
  });
}

// W_o attention(W_a u + b_a) + b_o
absl::StatusOr<Tensor> TrainableTransformerBlock::Attend(TrainingPass& pass,
                                                         const Tensor& u) const {
  const int64_t T = u.rows(), d = config_.hidden_size;
  ASSIGN_OR_RETURN(Tensor qkv, pass.New(T, 3 * d));
  int64_t column = 0;
  for (const TrainableLinear& input : attention_inputs_) {
    RETURN_IF_ERROR(input.Forward(pass, u, qkv.view().Columns(column, input.outputs())));
    column += input.outputs();
  }
  ASSIGN_OR_RETURN(const Tensor y, pass.New(T, d));
  ASSIGN_OR_RETURN(Tensor row_sums, pass.New(T, heads_));
  ComputeAttention(pass, qkv, y, row_sums);
  if (pass.GoesBelow(attention_output_.layer())) {
    RETURN_IF_ERROR(pass.Save(TensorClass::kAttention, std::move(qkv)));
    RETURN_IF_ERROR(pass.Save(TensorClass::kAttentionOutput, std::move(row_sums)));
    RETURN_IF_ERROR(pass.Save(TensorClass::kAttentionOutput, y));
  }
  qkv = Tensor();
  ASSIGN_OR_RETURN(Tensor out, pass.New(T, d));
  RETURN_IF_ERROR(attention_output_.Forward(pass, y, *out));
  return out;
}

absl::Status TrainableTransformerBlock::AttendBackward(TrainingPass& pass,
                                                       MatrixView<const float> gout,
                                                       MatrixView<float> gu) const {
  const int64_t T = gu.rows, d = config_.hidden_size;
  ASSIGN_OR_RETURN(const Tensor gy, pass.New(T, d));
  RETURN_IF_ERROR(attention_output_.Backward(pass, gout, *gy));
  if (!pass.GoesBelow(attention_output_.layer())) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Tensor gqkv, pass.New(T, 3 * d));
  {
    ASSIGN_OR_RETURN(Tensor y, pass.Take());
    ASSIGN_OR_RETURN(Tensor row_sums, pass.Take());
    ASSIGN_OR_RETURN(const Tensor qkv, pass.Take());
    if (y.empty()) {  // dropped: computed again, from the very queries and keys used below
      ASSIGN_OR_RETURN(y, pass.New(T, d));
      ASSIGN_OR_RETURN(row_sums, pass.New(T, heads_));
      ComputeAttention(pass, qkv, y, row_sums);
    }
    pass.Compute(AttentionCost(pass, /*products=*/5), [&] {
      kernels::SequenceAttentionBackward(pass.context, pass.sequences,
                                         AttentionOperands(pass, *qkv), *y, row_sums.data(), *gy,
                                         {.q = gqkv.view().Columns(0, d),
                                          .k = gqkv.view().Columns(d, d),
                                          .v = gqkv.view().Columns(2 * d, d)});
    });
  }
  int64_t column = 3 * d;
  for (auto input = attention_inputs_.rbegin(); input != attention_inputs_.rend(); ++input) {
    column -= input->outputs();
    RETURN_IF_ERROR(input->Backward(pass, gqkv.view().Columns(column, input->outputs()), gu,
                                    /*accumulate=*/input != attention_inputs_.rbegin()));
  }
  return absl::OkStatus();
}

// W_2 f(W_1 u + b_1) + b_2
absl::StatusOr<Tensor> TrainableTransformerBlock::FeedForward(TrainingPass& pass,
                                                              const Tensor& u) const {
  const int64_t T = u.rows(), F = config_.inner_size;
  ASSIGN_OR_RETURN(Tensor inner, pass.New(T, F));
  RETURN_IF_ERROR(feed_forward_input_.Forward(pass, u, *inner));
  ASSIGN_OR_RETURN(
      const Tensor activated,
      activation_.Forward(pass, std::move(inner), pass.GoesBelow(feed_forward_output_.layer())));
  ASSIGN_OR_RETURN(Tensor out, pass.New(T, config_.hidden_size));
  RETURN_IF_ERROR(feed_forward_output_.Forward(pass, activated, *out));
  return out;
}

absl::Status TrainableTransformerBlock::FeedForwardBackward(TrainingPass& pass,
                                                            MatrixView<const float> gout,
                                                            MatrixView<float> gu) const {
  const int64_t T = gu.rows, F = config_.inner_size;
  ASSIGN_OR_RETURN(const Tensor ginner, pass.New(T, F));
  RETURN_IF_ERROR(feed_forward_output_.Backward(pass, gout, *ginner));
  if (!pass.GoesBelow(feed_forward_output_.layer())) return absl::OkStatus();
  RETURN_IF_ERROR(activation_.Backward(pass, ginner));
  return feed_forward_input_.Backward(pass, *ginner, gu);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainableBlock>> MakeTrainableTransformerBlock(
    TrainableParameters& parameters, const std::string& prefix,
    const TransformerBlockConfig& config, int64_t heads, const TransformerDropout& dropout,
    int64_t first_site) {
  auto block = std::make_unique<TrainableTransformerBlock>(config, heads, dropout, first_site);
  RETURN_IF_ERROR(block->Make(parameters, prefix));
  return block;
}

}  // namespace whipsnake::engine
