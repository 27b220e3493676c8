#include "engine/models/gpt2/trainable_gpt2.h"

#include <string>

#include "engine/base/status.h"
#include "engine/layers/training/trainable_transformer_block.h"

namespace whipsnake::engine {
namespace {

std::string HeadName(const Gpt2Config& config) {
  if (config.labels > 0) return "score.weight";
  return config.tie_embeddings ? "transformer.wte.weight" : "lm_head.weight";
}

}  // namespace

absl::StatusOr<TrainableLayers> MakeTrainableGpt2(const Gpt2Config& config,
                                                  std::optional<float> dropout,
                                                  TrainableParameters& parameters) {
  TrainableLayers layers;
  int64_t site = 0;
  ASSIGN_OR_RETURN(
      layers.embedding,
      TrainableEmbedding::Make(parameters, "transformer.wte.weight", "transformer.wpe.weight",
                               dropout.value_or(config.embedding_dropout), site++));
  const TransformerDropout block_dropout{dropout.value_or(config.attention_dropout),
                                         dropout.value_or(config.residual_dropout)};
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    parameters.SetBlock(layer);
    ASSIGN_OR_RETURN(
        layers.blocks.emplace_back(),
        MakeTrainableTransformerBlock(parameters, absl::StrCat("transformer.h.", layer, "."),
                                      config.block(layer), config.heads, block_dropout, site));
    site += kTransformerDropoutSites;
  }
  parameters.SetBlock(-1);
  ASSIGN_OR_RETURN(layers.norm, TrainableNorm::Make(parameters, "transformer.ln_f",
                                                    NormKind::kLayer, config.norm_epsilon));
  ASSIGN_OR_RETURN(layers.head, TrainableLinear::OfWeight(parameters, HeadName(config)));
  return layers;
}

}  // namespace whipsnake::engine
