// The block of Mamba-1 with float weights, in fp32 arithmetic.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_FLOAT_MAMBA_BLOCK_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_FLOAT_MAMBA_BLOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/layers/weights.h"
#include "engine/models/mamba/mamba_block.h"
#include "engine/models/mamba/mamba_config.h"

namespace whipsnake::engine {

// Tensors are named `prefix` + "norm.weight", "mixer.in_proj.weight" and so on; matrices are held
// in `type`, kF32 or kBF16. The loader's checkpoint outlives the block, and so does the observer,
// which may be null and is told `layer`. States are fp32.
absl::StatusOr<std::unique_ptr<MambaBlock>> LoadFloatMambaBlock(WeightLoader& loader,
                                                                const std::string& prefix,
                                                                const MambaConfig& config,
                                                                kernels::DType type, int64_t layer,
                                                                MambaObserver* observer);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_FLOAT_MAMBA_BLOCK_H_
