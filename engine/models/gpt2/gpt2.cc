#include "engine/models/gpt2/gpt2.h"

#include <utility>

#include "engine/base/status.h"
#include "engine/layers/embedding.h"
#include "engine/layers/kv_state.h"
#include "engine/layers/language_head.h"
#include "engine/models/block_model.h"
#include "engine/models/gpt2/gpt2_names.h"
#include "engine/models/gpt2/gpt2_parameters.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using kernels::MatrixView;

// The types in which the parts of a model are held.
struct Gpt2Types {
  Scheme scheme = Scheme::kFp32;
  DType table = DType::kF32;  // embedding and head
  TransformerTypes block;
};

absl::StatusOr<Gpt2Types> ChooseTypes(const Gpt2Config& config, const ModelOptions& options) {
  std::optional<Scheme> quantized;
  if (config.quantization) quantized = Scheme::kW8A8;
  ASSIGN_OR_RETURN(const Scheme scheme, ChooseScheme(options, quantized));
  if (!quantized) {
    const DType type = scheme == Scheme::kBf16 ? DType::kBF16 : DType::kF32;
    return Gpt2Types{.scheme = scheme, .table = type, .block = {.matrix = type}};
  }
  const TransformerQuantization& quantization = *config.quantization;
  return Gpt2Types{.scheme = scheme,
                   .table = quantization.head_bits == 8 ? DType::kI8 : DType::kBF16,
                   .block = {.matrix = DType::kI8,
                             .inputs = quantization.static_activations ? Inputs::kStaticCodes
                                                                       : Inputs::kDynamicCodes}};
}

LanguageHead::Shape HeadShape(const Gpt2Config& config, const Gpt2Types& types,
                              const std::string& prefix, const std::string& table) {
  LanguageHead::Shape shape = {
      .outputs = config.vocab_size,
      .norm = {NormKind::kLayer, config.hidden_size, config.norm_epsilon},
      .norm_name = prefix + "ln_f",
      .weight_name = config.tie_embeddings ? table : "lm_head.weight",
      .tied = config.tie_embeddings,
      .type = types.table,
      .inputs = types.table == DType::kI8 ? types.block.inputs : Inputs::kFloats,
      .batch_invariant = config.quantization.has_value()};
  if (config.labels == 0) return shape;
  // A classifier's head is small and stays in fp32.
  shape.outputs = config.labels;
  shape.weight_name = "score.weight";
  shape.tied = false;
  shape.type = DType::kF32;
  shape.inputs = Inputs::kFloats;
  return shape;
}

absl::StatusOr<BlockModelWeights> LoadWeights(WeightLoader& loader, const Gpt2Config& config,
                                              const Gpt2Types& types, const KvShape& kv,
                                              TransformerObserver* observer) {
  const std::string prefix = Gpt2Prefix(loader.checkpoint());
  const std::string table = prefix + "wte.weight";
  BlockModelWeights weights;
  ASSIGN_OR_RETURN(weights.embedding, Embedding::Load(loader, table, config.vocab_size,
                                                      config.hidden_size, types.table));
  RETURN_IF_ERROR(weights.embedding.LoadPositions(loader, prefix + "wpe.weight", config.positions,
                                                  config.hidden_size));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    ASSIGN_OR_RETURN(weights.blocks.emplace_back(),
                     TransformerBlock::Load(loader, absl::StrCat(prefix, "h.", layer, "."),
                                            config.block(layer), types.block, kv, layer, observer));
  }
  ASSIGN_OR_RETURN(weights.head, LanguageHead::Load(loader, HeadShape(config, types, prefix, table),
                                                    weights.embedding));
  return weights;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeGpt2(const Gpt2Config& config,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                const ModelOptions& options,
                                                const ModelEnvironment& environment,
                                                TransformerObserver* observer) {
  ASSIGN_OR_RETURN(const Gpt2Types types, ChooseTypes(config, options));
  const KvShape kv{
      {options.state_type.value_or(types.block.matrix), config.heads, config.head_dim()},
      config.layers};
  BlockModelSpec spec;
  spec.info.architecture = "gpt2";
  spec.info.scheme = types.scheme;
  spec.info.vocab_size = config.vocab_size;
  spec.info.labels = config.labels;
  spec.info.max_positions = config.positions;
  spec.info.parameters = CountParameters(Gpt2Parameters(config));
  spec.description = absl::StrCat("a GPT-2 of ", config.layers, " layers");
  spec.hidden_size = config.hidden_size;
  spec.widest_input = config.inner_size;
  spec.load = [&](WeightLoader& loader) {
    return LoadWeights(loader, config, types, kv, observer);
  };
  spec.surplus = Gpt2Surplus;
  spec.states = std::make_unique<KvStates>(environment.ledger, kv, config.positions);
  if (observer != nullptr) {
    spec.observe_head_input = [observer, layers = config.layers](const kernels::Context& context,
                                                                 MatrixView<const float> values) {
      observer->Observe(context, layers, TransformerSite::kHeadInput, values);
    };
  }
  return MakeBlockModel(std::move(spec), std::move(checkpoint), environment);
}

}  // namespace whipsnake::engine
