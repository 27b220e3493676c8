// A Mamba-1 block, in float or 8-bit arithmetic: a norm of the residual stream and a mixer.
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
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The rows [begin, begin + length) of a batch and the recurrent states of their sequence in one
// layer. The states have the block's MambaStateTypes.
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

  // residual[T,d] += addend[T,d], unless addend is empty; out[T,d] = mixer(norm(residual)). out may
  // alias addend. Advances the states of the runs. `scratch` must have ScratchBytes(T) bytes; its
  // contents need not be kept between calls.
  virtual void Forward(const kernels::Context& context, std::span<const MambaRun> runs,
                       kernels::MatrixView<const float> addend, kernels::MatrixView<float> residual,
                       Arena scratch, kernels::MatrixView<float> out) const = 0;
  virtual int64_t ScratchBytes(int64_t rows) const = 0;

  // Appends every weight that Forward reads.
  virtual void AppendWeights(std::vector<std::span<const std::byte>>& weights) const = 0;
};

// Where a value is observed, in the order of a block's equations.
enum class MambaSite {
  kInput,      // u [T,d], including the norm's γ
  kConvInput,  // x before the convolution [T,E]
  kGate,       // z [T,E]
  kX,          // x after convolution and SiLU [T,E]
  kRank,       // δ [T,R]
  kB,          // [T,N]
  kC,          // [T,N]
  kStep,       // W_dt δ [T,E]
  kOutput,     // y, gated [T,E]
  kState,      // the scan states after a run, [N,E], once per run
  kHeadInput,  // u of the language head [R,d]; the layer is the number of layers
};

// Observes the values that flow through a float model, to measure them. Called on the compute
// thread.
class MambaObserver {
 public:
  virtual ~MambaObserver() = default;
  virtual void Observe(const kernels::Context& context, int64_t layer, MambaSite site,
                       kernels::MatrixView<const float> values) = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_BLOCK_H_
