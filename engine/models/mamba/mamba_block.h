// A block of Mamba-1: a norm over the residual stream and a mixer, whatever the arithmetic.
//
//   r += h;  u = γ ∘ RMSNorm(r);  h' = mixer(u)
//
// Source: Gu & Dao, arXiv 2312.00752, section 3.4, in the notation of Quamba, arXiv 2410.13229.
//
// Letters: T tokens of all runs, d model width, E inner width, N states per channel, R rank of Δ, W
// taps of the convolution.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_BLOCK_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/arena.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The rows [begin, begin + length) of a batch and the recurrent state of their sequence in one
// layer, of the types that the block's MambaStateTypes name.
struct MambaRun {
  int64_t begin = 0;
  int64_t length = 0;
  std::byte* conv_state = nullptr;  // [W-1,E]
  std::byte* scan_state = nullptr;  // [N,E]
};

struct MambaStateTypes {
  kernels::DType conv = kernels::DType::kF32;
  kernels::DType scan = kernels::DType::kF32;
};

// Immutable. Called on the executor.
class MambaBlock {
 public:
  virtual ~MambaBlock() = default;

  // residual[T,d] += addend[T,d] (or nothing, where that is empty); out[T,d] =
  // mixer(norm(residual)). out may alias addend. Advances the states of the runs. `scratch` has
  // ScratchBytes(T) bytes; what they hold means nothing between calls.
  virtual void Forward(std::span<const MambaRun> runs, kernels::MatrixView<const float> addend,
                       kernels::MatrixView<float> residual, Arena scratch,
                       kernels::MatrixView<float> out) const = 0;
  virtual int64_t ScratchBytes(int64_t rows) const = 0;

  // Appends every weight that Forward reads.
  virtual void AppendWeights(std::vector<std::span<const std::byte>>& weights) const = 0;
};

// Where a value is seen, in the order of a block's equations.
enum class MambaSite {
  kInput,      // u [T,d], norm's γ included
  kConvInput,  // x before the convolution [T,E]
  kGate,       // z [T,E]
  kX,          // x after convolution and SiLU [T,E]
  kRank,       // δ [T,R]
  kB,          // [T,N]
  kC,          // [T,N]
  kStep,       // W_dt δ [T,E]
  kOutput,     // y, gated [T,E]
  kState,      // the runs' states afterwards, [N,E] each
  kHeadInput,  // u of the language head [R,d]; the layer is the number of layers
};

// Sees what flows through a float model, to measure it. Called on the compute thread.
class MambaObserver {
 public:
  virtual ~MambaObserver() = default;
  virtual void Observe(int64_t layer, MambaSite site, kernels::MatrixView<const float> values) = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_BLOCK_H_
