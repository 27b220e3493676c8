// The Mamba-1 block in 8 bits, after Quamba (arXiv 2410.13229, section 4): weights, activations and
// the scan's inputs are codes with static scales; the scan's arithmetic and the residual stream are
// fp32.
//
// Tensors of a layer, named after those of the float checkpoint (X.qweight and X.scale are the
// codes and the scale of X.weight; a scale has one element, or as many as listed):
//
//   norm.weight                     γ[d]; 1 if it was folded into in_proj
//   mixer.in_proj.input_scale       of u
//   mixer.in_proj.qweight, .scale   [2E,d], [2E]
//   mixer.conv1d.input_scale        of x before the convolution, [E]
//   mixer.gate_scale                of z, [E]
//   mixer.conv1d.qweight, .scale    [E,1,W], [E]; mixer.conv1d.bias
//   mixer.x_proj.input_scale        of x
//   mixer.x_proj.input_smoothing    [E], optional: x is divided by it, x_proj multiplied
//   mixer.x_proj.qweight, .scale    [R+2N,E], [R+2N]
//   mixer.dt_proj.input_scale       of δ
//   mixer.B_scale, mixer.C_scale    [N]
//   mixer.dt_proj.qweight, .scale   [E,R], [E]; mixer.dt_proj.bias
//   mixer.dt_proj.output_scale      of W_dt δ, [E]
//   mixer.A_log, mixer.D            in fp32, or codes and one scale
//   mixer.state_scale               of h, [N], for states in int8
//   mixer.out_proj.input_scale      of y, after the rotation if there is one
//   mixer.out_proj.input_smoothing  [E], as x_proj's; not with a rotation
//   mixer.out_proj.qweight, .scale  [d,E], [d]
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_QUANTIZED_MAMBA_BLOCK_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_QUANTIZED_MAMBA_BLOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/layers/weights.h"
#include "engine/models/mamba/mamba_block.h"
#include "engine/models/mamba/mamba_config.h"

namespace whipsnake::engine {

// The loader's checkpoint must outlive the block. config.quantization must be set. The
// convolution's states are codes; the scan's states have the type `scan_state`: kF32, kBF16 or kI8.
// Errors as from WeightLoader; INVALID_ARGUMENT if the config has an output rotation but its width
// has no Hadamard matrix.
absl::StatusOr<std::unique_ptr<Block>> LoadQuantizedMambaBlock(
    WeightLoader& loader, const std::string& prefix, const MambaConfig& config,
    const MambaStateLayout& states, kernels::DType scan_state, int64_t layer);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_QUANTIZED_MAMBA_BLOCK_H_
