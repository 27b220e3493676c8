// The Mamba-1 block with float weights, in fp32 arithmetic.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_FLOAT_MAMBA_BLOCK_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_FLOAT_MAMBA_BLOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/layers/weights.h"
#include "engine/models/mamba/mamba_block.h"
#include "engine/models/mamba/mamba_config.h"

namespace whipsnake::engine {

// Loads the tensors `prefix` + "norm.weight", "mixer.in_proj.weight" and so on. Matrices are held
// in `type`, kF32 or kBF16; states are fp32. The loader's checkpoint and the observer must outlive
// the block. The observer, which may be null, is called with `layer`. Errors as from WeightLoader.
absl::StatusOr<std::unique_ptr<Block>> LoadFloatMambaBlock(
    WeightLoader& loader, const std::string& prefix, const MambaConfig& config,
    const MambaStateLayout& states, kernels::DType type, int64_t layer, MambaObserver* observer);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_FLOAT_MAMBA_BLOCK_H_
