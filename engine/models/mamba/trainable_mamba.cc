#include "engine/models/mamba/trainable_mamba.h"

#include <string>

#include "engine/base/status.h"
#include "engine/models/mamba/trainable_mamba_block.h"

namespace whipsnake::engine {

absl::StatusOr<TrainableLayers> MakeTrainableMamba(const MambaConfig& config,
                                                   TrainableParameters& parameters) {
  const std::string table =
      config.original_form ? "backbone.embedding.weight" : "backbone.embeddings.weight";
  TrainableLayers layers;
  ASSIGN_OR_RETURN(layers.embedding, TrainableEmbedding::Make(parameters, table, /*positions=*/"",
                                                              /*dropout=*/0, /*site=*/0));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    parameters.SetBlock(layer);
    ASSIGN_OR_RETURN(
        layers.blocks.emplace_back(),
        MakeTrainableMambaBlock(parameters, absl::StrCat("backbone.layers.", layer, "."), config));
  }
  parameters.SetBlock(-1);
  ASSIGN_OR_RETURN(layers.norm, TrainableNorm::Make(parameters, "backbone.norm_f", NormKind::kRms,
                                                    config.norm_epsilon));
  const std::string untied = config.labels > 0 ? "score.weight" : "lm_head.weight";
  const bool tied = config.labels == 0 && config.tie_embeddings;
  ASSIGN_OR_RETURN(layers.head, TrainableLinear::OfWeight(parameters, tied ? table : untied));
  return layers;
}

}  // namespace whipsnake::engine
