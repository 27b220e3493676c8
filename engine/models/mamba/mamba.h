// Mamba-1 language models.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/layers/unused_tensors.h"
#include "engine/models/mamba/mamba_block.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// Returns the name of the embedding's table in the checkpoint. Only this name differs between the
// original and the Hugging Face layout.
std::string MambaEmbeddingName(const Checkpoint& checkpoint);

// What a tensor is that the model does not have.
Surplus MambaSurplus(std::string_view name);

// Makes the model of a config and a checkpoint, with float weights or, if config.quantization is
// set, with codes. Errors as from LoadModel(). The observer, which may be null, sees the values
// that flow through a float model; it must outlive the model.
absl::StatusOr<std::unique_ptr<Model>> MakeMamba(const MambaConfig& config,
                                                 std::shared_ptr<const Checkpoint> checkpoint,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment,
                                                 MambaObserver* observer = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_H_
