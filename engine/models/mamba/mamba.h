// Mamba-1 language models.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/mamba/mamba_block.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// The model that a config and a checkpoint make: floats, or codes where config.quantization is set.
// Errors as from LoadModel(). An observer is shown what flows through a float model; it outlives
// the model.
absl::StatusOr<std::unique_ptr<Model>> MakeMamba(const MambaConfig& config,
                                                 std::shared_ptr<const Checkpoint> checkpoint,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment,
                                                 MambaObserver* observer = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_H_
