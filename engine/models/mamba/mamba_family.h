// The family of Mamba models.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_FAMILY_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_FAMILY_H_

#include "engine/models/family.h"

namespace whipsnake::engine {

extern const Family kMambaFamily;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_FAMILY_H_
