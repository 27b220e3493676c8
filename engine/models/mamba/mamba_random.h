// Random weights of a Mamba.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_RANDOM_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_RANDOM_H_

#include "engine/models/mamba/mamba_config.h"
#include "engine/models/random_tensors.h"

namespace whipsnake::engine {

// Adds every tensor, initialized as the authors' code does (config.initialization).
void AddRandomTensors(const MambaConfig& config, RandomTensors& tensors);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_RANDOM_H_
