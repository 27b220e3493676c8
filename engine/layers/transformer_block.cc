#include "engine/layers/transformer_block.h"

#include <algorithm>
#include <cmath>

#include "engine/base/status.h"
#include "kernels/row_quantization/row_quantization.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using kernels::MatrixView;

}  // namespace

absl::StatusOr<TransformerBlock> TransformerBlock::Load(
    WeightLoader& loader, const std::string& prefix, const TransformerBlockConfig& config,
    const TransformerTypes& types, int64_t layer, TransformerObserver* observer) {
  const int64_t d = config.hidden_size, F = config.inner_size;
  const Norm::Shape norm{NormKind::kLayer, d, config.norm_epsilon};
  const auto load = [&](const char* name, int64_t outputs, int64_t inputs) {
    return Linear::Load(loader, prefix + name, {outputs, inputs, /*transposed=*/true}, types.matrix,
                        types.inputs);
  };
  TransformerBlock block;
  block.width_ = d;
  block.inner_width_ = F;
  block.layer_ = layer;
  block.attention_scale_ = config.attention_scale;
  block.types_ = types;
  block.observer_ = observer;
  ASSIGN_OR_RETURN(block.attention_in_, load("attn.c_attn", 3 * d, d));
  ASSIGN_OR_RETURN(block.attention_out_, load("attn.c_proj", d, d));
  ASSIGN_OR_RETURN(block.feed_forward_in_, load("mlp.c_fc", F, d));
  ASSIGN_OR_RETURN(block.feed_forward_out_, load("mlp.c_proj", d, F));
  ASSIGN_OR_RETURN(block.attention_norm_,
                   Norm::Load(loader, prefix + "ln_1", norm, block.attention_in_.input_scale()));
  ASSIGN_OR_RETURN(block.feed_forward_norm_,
                   Norm::Load(loader, prefix + "ln_2", norm, block.feed_forward_in_.input_scale()));
  ASSIGN_OR_RETURN(block.activation_,
                   LoadActivation(loader, prefix + "mlp.act", config.activation));
  const std::string table_scale = prefix + "mlp.act.input_scale";
  if (types.inputs == Inputs::kStaticCodes && loader.checkpoint().Contains(table_scale)) {
    ASSIGN_OR_RETURN(block.table_scale_, loader.Scale(table_scale));
    block.table_.resize(kernels::kCodes);
    kernels::MakeCodeTable(block.activation_, block.table_scale_,
                           block.feed_forward_out_.input_scale(), block.table_.data());
  }
  return block;
}

TransformerBlock::Scratch TransformerBlock::Lay(Arena& arena, int64_t rows) const {
  Scratch scratch{.qkv = arena.Matrix<float>(rows, 3 * width_),
                  .y = arena.Matrix<float>(rows, width_),
                  .inner = {},
                  .u = Rows::Lay(arena, types_.inputs, rows, width_),
                  .activated = {}};
  if (types_.inputs != Inputs::kStaticCodes)
    scratch.inner = arena.Matrix<float>(rows, inner_width_);
  if (types_.inputs != Inputs::kFloats) {
    scratch.activated = Rows::Lay(arena, types_.inputs, rows, inner_width_);
  }
  return scratch;
}

int64_t TransformerBlock::ScratchBytes(int64_t rows) const {
  Arena arena;
  Lay(arena, rows);
  return arena.bytes();
}

void TransformerBlock::Observe(TransformerSite site, MatrixView<const float> values) const {
  if (observer_ != nullptr) observer_->Observe(layer_, site, values);
}

Rows TransformerBlock::InputsOf(const kernels::Context& context, const Linear& product,
                                MatrixView<float> values, const Rows& codes) const {
  switch (types_.inputs) {
    case Inputs::kFloats:
      return {.floats = values};
    case Inputs::kStaticCodes:
      kernels::QuantizeRows(context, values, 1 / product.input_scale(), codes.codes);
      return codes;
    case Inputs::kDynamicCodes:
      kernels::QuantizeRows(context, values, codes.codes, codes.scales);
      return codes;
  }
  return codes;
}

void TransformerBlock::Forward(const kernels::Context& context,
                               std::span<const kernels::AttentionRun> runs, const Cache& cache,
                               MatrixView<const float> addend, MatrixView<float> residual,
                               Arena memory, MatrixView<float> out) const {
  const Scratch scratch = Lay(memory, residual.rows);
  const MatrixView<float>&qkv = scratch.qkv, &y = scratch.y;

  // u = LayerNorm(r)
  attention_norm_.Forward(context, addend, residual, scratch.u);
  Observe(TransformerSite::kAttentionInput, scratch.u.floats);

  // [q;k;v] = W_a u + b_a
  attention_in_.Forward(context, scratch.u, qkv);
  kernels::Attention(context, runs,
                     {.q = qkv.Columns(0, width_),
                      .k = qkv.Columns(width_, width_),
                      .v = qkv.Columns(2 * width_, width_),
                      .layout = cache.layout,
                      .offset = cache.offset,
                      .scale = attention_scale_,
                      .y = y});
  Observe(TransformerSite::kAttentionOutput, y);

  // W_o y + b_o
  attention_out_.Forward(context, InputsOf(context, attention_out_, y, scratch.u), out);

  // u = LayerNorm(r)
  feed_forward_norm_.Forward(context, out, residual, scratch.u);
  Observe(TransformerSite::kFeedForwardInput, scratch.u.floats);
  FeedForward(context, scratch, out);
}

// W_2 f(W_1 u + b_1) + b_2
void TransformerBlock::FeedForward(const kernels::Context& context, const Scratch& scratch,
                                   MatrixView<float> out) const {
  const MatrixView<float>& inner = scratch.inner;
  const MatrixView<int8_t>& codes = scratch.activated.codes;
  if (!table_.empty()) {
    feed_forward_in_.Forward(context, scratch.u, table_scale_, codes);
    kernels::ApplyCodeTable(context, table_.data(), codes.data, codes.rows * codes.cols,
                            codes.data);
    return feed_forward_out_.Forward(context, scratch.activated, out);
  }
  if (types_.inputs == Inputs::kStaticCodes) {
    feed_forward_in_.Forward(context, scratch.u, feed_forward_out_.input_scale(), codes,
                             activation_);
    return feed_forward_out_.Forward(context, scratch.activated, out);
  }
  if (observer_ == nullptr) {
    feed_forward_in_.Forward(context, scratch.u, inner, activation_);
  } else {  // the observer needs the activation's input
    feed_forward_in_.Forward(context, scratch.u, inner);
    Observe(TransformerSite::kActivationInput, inner);
    kernels::Activate(context, activation_, inner.data, inner.rows * inner.cols, inner.data);
    Observe(TransformerSite::kActivation, inner);
  }
  feed_forward_out_.Forward(context, InputsOf(context, feed_forward_out_, inner, scratch.activated),
                            out);
}

void TransformerBlock::AppendWeights(std::vector<std::span<const std::byte>>& weights) const {
  for (const Norm* norm : {&attention_norm_, &feed_forward_norm_}) norm->AppendWeights(weights);
  for (const Linear* linear :
       {&attention_in_, &attention_out_, &feed_forward_in_, &feed_forward_out_}) {
    linear->AppendWeights(weights);
  }
}

}  // namespace whipsnake::engine
