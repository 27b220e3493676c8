#include "engine/layers/transformer_block.h"

#include <utility>

#include "absl/memory/memory.h"
#include "engine/base/status.h"
#include "kernels/attention/attention.h"
#include "kernels/row_quantization/row_quantization.h"

namespace whipsnake::engine {

using kernels::MatrixView;

absl::StatusOr<std::unique_ptr<Block>> TransformerBlock::Load(WeightLoader& loader,
                                                              const std::string& prefix,
                                                              const TransformerBlockConfig& config,
                                                              const TransformerTypes& types,
                                                              const KvShape& kv, int64_t layer,
                                                              TransformerObserver* observer) {
  if (types.inputs != Inputs::kFloats && config.norm_placement == NormPlacement::kAfter) {
    return absl::UnimplementedError(
        "a quantized transformer with norms after its layers is not supported");
  }
  auto block = absl::WrapUnique(new TransformerBlock(config, types, kv, layer, observer));
  RETURN_IF_ERROR(block->LoadProducts(loader, prefix));
  RETURN_IF_ERROR(block->LoadNorms(loader, prefix));
  RETURN_IF_ERROR(block->LoadActivations(loader, prefix));
  return block;
}

absl::Status TransformerBlock::LoadProducts(WeightLoader& loader, const std::string& prefix) {
  const int64_t d = config_.hidden_size, F = config_.inner_size;
  const TransformerNames& names = config_.names;
  const auto load = [&](const std::string& name, int64_t outputs, int64_t inputs, bool bias) {
    return Linear::Load(loader, prefix + name, {outputs, inputs, bias, config_.transposed_weights},
                        types_.matrix, types_.inputs);
  };
  const int64_t parts = std::ssize(names.attention_inputs);
  for (const std::string& name : names.attention_inputs) {
    ASSIGN_OR_RETURN(attention_inputs_.emplace_back(),
                     load(name, 3 * d / parts, d, config_.attention_bias));
    if (attention_inputs_.back().input_scale() != attention_inputs_.front().input_scale()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(prefix + name + ".input_scale"),
                       ": another value than that of ", names.attention_inputs.front(),
                       " seen, expected the same value, because both have the same inputs"));
    }
  }
  ASSIGN_OR_RETURN(attention_output_, load(names.attention_output, d, d, config_.attention_bias));
  ASSIGN_OR_RETURN(feed_forward_input_,
                   load(names.feed_forward_input, F, d, config_.feed_forward_bias));
  ASSIGN_OR_RETURN(feed_forward_output_,
                   load(names.feed_forward_output, d, F, config_.feed_forward_bias));
  return absl::OkStatus();
}

absl::Status TransformerBlock::LoadNorms(WeightLoader& loader, const std::string& prefix) {
  const Norm::Shape shape{NormKind::kLayer, config_.hidden_size, config_.norm_epsilon};
  ASSIGN_OR_RETURN(attention_norm_, Norm::Load(loader, prefix + config_.names.attention_norm, shape,
                                               attention_inputs_.front().input_scale()));
  ASSIGN_OR_RETURN(feed_forward_norm_, Norm::Load(loader, prefix + config_.names.feed_forward_norm,
                                                  shape, feed_forward_input_.input_scale()));
  return absl::OkStatus();
}

absl::Status TransformerBlock::LoadActivations(WeightLoader& loader, const std::string& prefix) {
  const std::string name = prefix + config_.names.activation;
  ASSIGN_OR_RETURN(activation_, LoadActivation(loader, name, config_.activation));
  epsilon_name_ = name + kEpsilonNames[0];
  const std::string table_scale = name + ".input_scale";
  if (types_.inputs != Inputs::kStaticCodes || !loader.checkpoint().Contains(table_scale)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(table_scale_, loader.Scale(table_scale));
  table_.resize(kernels::kCodes);
  kernels::MakeCodeTable(activation_, table_scale_, feed_forward_output_.input_scale(),
                         table_.data());
  return absl::OkStatus();
}

TransformerBlock::Scratch TransformerBlock::LayOut(Arena& arena, int64_t rows) const {
  const int64_t d = config_.hidden_size, F = config_.inner_size;
  Scratch scratch{.qkv = arena.Matrix<float>(rows, 3 * d),
                  .y = arena.Matrix<float>(rows, d),
                  .inner = {},
                  .u = Rows::LayOut(arena, types_.inputs, rows, d),
                  .activated = {}};
  if (types_.inputs != Inputs::kStaticCodes) scratch.inner = arena.Matrix<float>(rows, F);
  if (types_.inputs != Inputs::kFloats) {
    scratch.activated = Rows::LayOut(arena, types_.inputs, rows, F);
  }
  return scratch;
}

int64_t TransformerBlock::ScratchBytes(int64_t rows) const {
  Arena arena;
  LayOut(arena, rows);
  return arena.bytes();
}

void TransformerBlock::Observe(const kernels::Context& context, TransformerSite site,
                               MatrixView<const float> values) const {
  if (observer_ != nullptr) observer_->Observe(context, layer_, site, values);
}

Rows TransformerBlock::InputOf(const kernels::Context& context, const Norm& norm,
                               ResidualStream& stream, const Rows& u) const {
  if (config_.norm_placement == NormPlacement::kAfter) return {.floats = stream.sum};
  norm.Forward(context, stream.Pending(), stream.sum, u);
  stream.pending = false;
  return u;
}

void TransformerBlock::AddOutput(const kernels::Context& context, const Norm& norm,
                                 ResidualStream& stream) const {
  if (config_.norm_placement == NormPlacement::kBefore) {
    stream.pending = true;
    return;
  }
  norm.Forward(context, stream.addend, stream.sum, {.floats = stream.addend});
  std::swap(stream.sum, stream.addend);
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

void TransformerBlock::Forward(const kernels::Context& context, std::span<const BlockRun> runs,
                               ResidualStream& stream, Arena memory) const {
  const Scratch scratch = LayOut(memory, stream.sum.rows);
  const Rows attention_input = InputOf(context, attention_norm_, stream, scratch.u);
  Observe(context, TransformerSite::kAttentionInput, attention_input.floats);
  Attend(context, runs, attention_input, scratch, stream.addend);
  AddOutput(context, attention_norm_, stream);

  const Rows feed_forward_input = InputOf(context, feed_forward_norm_, stream, scratch.u);
  Observe(context, TransformerSite::kFeedForwardInput, feed_forward_input.floats);
  FeedForward(context, feed_forward_input, scratch, stream.addend);
  AddOutput(context, feed_forward_norm_, stream);
}

// W_o attention(W_a u + b_a) + b_o
void TransformerBlock::Attend(const kernels::Context& context, std::span<const BlockRun> runs,
                              const Rows& u, const Scratch& scratch, MatrixView<float> out) const {
  const int64_t d = config_.hidden_size;
  const MatrixView<float>&qkv = scratch.qkv, &y = scratch.y;
  const int64_t width = 3 * d / std::ssize(attention_inputs_);
  for (size_t i = 0; i < attention_inputs_.size(); ++i) {
    attention_inputs_[i].Forward(context, u, qkv.Columns(static_cast<int64_t>(i) * width, width));
  }
  std::vector<kernels::AttentionRun> attention_runs;
  attention_runs.reserve(runs.size());
  for (const BlockRun& run : runs) {
    const auto* state = static_cast<const KvState*>(run.state);
    attention_runs.push_back({run.begin, run.length, state->position(), state->blocks()});
  }
  kernels::Attention(context, attention_runs,
                     {.q = qkv.Columns(0, d),
                      .k = qkv.Columns(d, d),
                      .v = qkv.Columns(2 * d, d),
                      .layout = kv_.layer,
                      .offset = layer_ * kv_.LayerBytes(),
                      .scale = config_.attention_scale,
                      .causal = config_.causal,
                      .y = y});
  Observe(context, TransformerSite::kAttentionOutput, y);
  attention_output_.Forward(context, InputsOf(context, attention_output_, y, scratch.u), out);
}

// W_2 f(W_1 u + b_1) + b_2
void TransformerBlock::FeedForward(const kernels::Context& context, const Rows& u,
                                   const Scratch& scratch, MatrixView<float> out) const {
  const MatrixView<float>& inner = scratch.inner;
  const MatrixView<int8_t>& codes = scratch.activated.codes;
  if (!table_.empty()) {
    feed_forward_input_.Forward(context, u, table_scale_, codes);
    kernels::ApplyCodeTable(context, table_.data(), codes.data, codes.rows * codes.cols,
                            codes.data);
    return feed_forward_output_.Forward(context, scratch.activated, out);
  }
  if (types_.inputs == Inputs::kStaticCodes) {
    feed_forward_input_.Forward(context, u, feed_forward_output_.input_scale(), codes, activation_);
    return feed_forward_output_.Forward(context, scratch.activated, out);
  }
  if (observer_ == nullptr) {
    feed_forward_input_.Forward(context, u, inner, activation_);
  } else {  // the observer needs the activation's input
    feed_forward_input_.Forward(context, u, inner);
    Observe(context, TransformerSite::kActivationInput, inner);
    kernels::Activate(context, activation_, inner.data, inner.rows * inner.cols, inner.data);
    Observe(context, TransformerSite::kActivation, inner);
  }
  feed_forward_output_.Forward(
      context, InputsOf(context, feed_forward_output_, inner, scratch.activated), out);
}

void TransformerBlock::VisitParameters(ParameterVisitor visit) const {
  attention_norm_.VisitParameters(visit);
  for (const Linear& linear : attention_inputs_) linear.VisitParameters(visit);
  attention_output_.VisitParameters(visit);
  feed_forward_norm_.VisitParameters(visit);
  feed_forward_input_.VisitParameters(visit);
  if (activation_.kind == kernels::Activation::kCRRelu) {
    visit({epsilon_name_,
           {1},
           ParameterRole::kScalar,
           kernels::DType::kF32,
           std::as_bytes(std::span(&activation_.epsilon, 1))});
  }
  feed_forward_output_.VisitParameters(visit);
}

}  // namespace whipsnake::engine
