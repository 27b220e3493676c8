#include "engine/models/mamba/mamba.h"

#include <utility>

#include "engine/base/status.h"
#include "engine/layers/embedding.h"
#include "engine/layers/language_head.h"
#include "engine/layers/recurrent_state.h"
#include "engine/models/block_model.h"
#include "engine/models/mamba/float_mamba_block.h"
#include "engine/models/mamba/mamba_parameters.h"
#include "engine/models/mamba/quantized_mamba_block.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using kernels::MatrixView;

// The types in which the parts of a model are held.
struct MambaTypes {
  Scheme scheme = Scheme::kFp32;
  DType table = DType::kF32;  // embedding and head
  DType matrix = DType::kF32;
  MambaStateTypes state;
};

absl::StatusOr<MambaTypes> ChooseTypes(const MambaConfig& config, const ModelOptions& options) {
  std::optional<Scheme> quantized;
  if (config.quantization) quantized = config.quantization->scheme;
  ASSIGN_OR_RETURN(const Scheme scheme, ChooseScheme(options, quantized));
  if (!quantized) {
    const DType type = scheme == Scheme::kBf16 ? DType::kBF16 : DType::kF32;
    return MambaTypes{.scheme = scheme, .table = type, .matrix = type, .state = {}};
  }
  return MambaTypes{
      .scheme = scheme,
      .table = config.quantization->head_bits == 8 ? DType::kI8 : DType::kBF16,
      .matrix = DType::kI8,
      .state = {.conv = DType::kI8, .scan = options.state_type.value_or(DType::kF32)}};
}

LanguageHead::Shape HeadShape(const MambaConfig& config, const MambaTypes& types,
                              const std::string& table) {
  LanguageHead::Shape shape = {
      .outputs = config.vocab_size,
      .norm = {NormKind::kRms, config.hidden_size, config.norm_epsilon},
      .norm_name = "backbone.norm_f",
      .weight_name = config.tie_embeddings ? table : "lm_head.weight",
      .tied = config.tie_embeddings,
      .type = types.table,
      .inputs = types.table == DType::kI8 ? Inputs::kStaticCodes : Inputs::kFloats,
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

absl::StatusOr<BlockModelWeights> LoadWeights(WeightLoader& loader, const MambaConfig& config,
                                              const MambaTypes& types,
                                              const MambaStateLayout& states,
                                              MambaObserver* observer) {
  BlockModelWeights weights;
  const std::string table = MambaEmbeddingName(loader.checkpoint());
  ASSIGN_OR_RETURN(weights.embedding, Embedding::Load(loader, table, config.vocab_size,
                                                      config.hidden_size, types.table));
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("backbone.layers.", i, ".");
    ASSIGN_OR_RETURN(
        weights.blocks.emplace_back(),
        types.matrix == DType::kI8
            ? LoadQuantizedMambaBlock(loader, prefix, config, states, types.state.scan, i)
            : LoadFloatMambaBlock(loader, prefix, config, states, types.matrix, i, observer));
  }
  ASSIGN_OR_RETURN(weights.head,
                   LanguageHead::Load(loader, HeadShape(config, types, table), weights.embedding));
  return weights;
}

}  // namespace

std::string MambaEmbeddingName(const Checkpoint& checkpoint) {
  const std::string original = "backbone.embedding.weight";
  const bool is_original =
      checkpoint.Contains(original) || checkpoint.Contains(CodesName(original));
  return is_original ? original : "backbone.embeddings.weight";
}

Surplus MambaSurplus(std::string_view name) {
  if (IsLeftoverBuffer(name)) return Surplus::kLeftover;
  const bool of_layers = name.starts_with("backbone.") || name.starts_with("lm_head.");
  return of_layers ? Surplus::kOfLayers : Surplus::kForeign;
}

absl::StatusOr<std::unique_ptr<Model>> MakeMamba(const MambaConfig& config,
                                                 std::shared_ptr<const Checkpoint> checkpoint,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment,
                                                 MambaObserver* observer) {
  ASSIGN_OR_RETURN(const MambaTypes types, ChooseTypes(config, options));
  const MambaStateLayout states(config, types.state);
  BlockModelSpec spec;
  spec.info.architecture = "mamba";
  spec.info.scheme = types.scheme;
  spec.info.vocab_size = config.vocab_size;
  spec.info.labels = config.labels;
  spec.info.parameters = CountParameters(MambaParameters(config));
  spec.description = absl::StrCat("a Mamba of ", config.layers, " layers");
  spec.hidden_size = config.hidden_size;
  spec.widest_input = config.intermediate_size;
  spec.load = [&](WeightLoader& loader) {
    return LoadWeights(loader, config, types, states, observer);
  };
  spec.surplus = MambaSurplus;
  spec.states = std::make_unique<RecurrentStates>(environment.ledger, states.bytes());
  if (observer != nullptr) {
    spec.observe_head_input = [observer, layers = config.layers](const kernels::Context& context,
                                                                 MatrixView<const float> values) {
      observer->Observe(context, layers, MambaSite::kHeadInput, values);
    };
  }
  return MakeBlockModel(std::move(spec), std::move(checkpoint), environment);
}

}  // namespace whipsnake::engine
