// The parameters of a Mamba.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_PARAMETERS_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_PARAMETERS_H_

#include <vector>

#include "engine/models/mamba/mamba_config.h"
#include "engine/models/parameter_spec.h"

namespace whipsnake::engine {

// Every parameter, with initial values as in the original implementation.
std::vector<ParameterSpec> MambaParameters(const MambaConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_PARAMETERS_H_
