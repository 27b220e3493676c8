// A Mamba-1 block, in float or 8-bit arithmetic: a norm of the residual stream and a mixer.
//
//   r += h;  u = γ ∘ RMSNorm(r)
//   [x;z] = W_in u;  x_t = SiLU(b_c + Σ_k w_c,k · x_{t-W+1+k})
//   [δ;B;C] = W_x x;  Δ = softplus(W_dt δ + b_dt)
//   h_t = exp(Δ_t A)∘h_{t-1} + (Δ_t x_t) B_tᵀ
//   y_t = (h_t C_t + D∘x_t)∘SiLU(z_t);  h' = W_out y
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
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/arena.h"
#include "engine/base/memory.h"
#include "engine/layers/block.h"
#include "engine/layers/linear.h"
#include "engine/layers/norm.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
#include "engine/models/mamba/mamba_config.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

struct MambaStateTypes {
  kernels::DType conv = kernels::DType::kF32;
  kernels::DType scan = kernels::DType::kF32;
};

// The byte offsets of each layer's states in a sequence's RecurrentState: the convolution's
// [W-1,E], then the scan's [N,E].
class MambaStateLayout {
 public:
  MambaStateLayout(const MambaConfig& config, const MambaStateTypes& types);

  int64_t bytes() const { return layers_ * layer_bytes_; }
  int64_t conv(int64_t layer) const { return layer * layer_bytes_; }
  int64_t scan(int64_t layer) const { return conv(layer) + conv_bytes_; }

 private:
  int64_t layers_, conv_bytes_, layer_bytes_;
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

// The rows [begin, begin + length) of a batch and the recurrent states of their sequence in one
// layer, which have the block's MambaStateTypes.
struct MambaRun {
  int64_t begin = 0;
  int64_t length = 0;
  std::byte* conv_state = nullptr;  // [W-1,E]
  std::byte* scan_state = nullptr;  // [N,E]
};

// The block's equations and the weights that both arithmetics have. A subclass computes the steps
// that differ. The states of its runs must be RecurrentStates of the layout.
class MambaBlock : public Block {
 public:
  void Forward(const kernels::Context& context, std::span<const BlockRun> runs,
               ResidualStream& stream, Arena scratch) const override;
  int64_t ScratchBytes(int64_t rows) const override;
  void VisitParameters(ParameterVisitor visit) const override;

 protected:
  // The values that are inputs of products or of the scan: floats, or codes with static scales.
  struct Values {
    Rows u;                        // [T,d]
    Rows xz;                       // [T,2E]
    Rows x;                        // [T,E], after the convolution
    Rows dbc;                      // [T,R+2N]
    Rows delta;                    // [T,E], before the bias
    kernels::MatrixView<float> y;  // [T,E]
    Rows y_input;                  // y as the input of W_out
  };

  // `prefix` begins the names of the layer's tensors. `inputs` is the form of the values: kFloats
  // or kStaticCodes.
  MambaBlock(const MambaConfig& config, const MambaStateLayout& states, std::string prefix,
             Inputs inputs, int64_t layer, MambaObserver* observer);

  // Loads the weights that both arithmetics have in the same form.
  absl::Status LoadShared(WeightLoader& loader);

  // Writes x after the convolution, and advances its states.
  virtual void Convolve(const kernels::Context& context, std::span<const MambaRun> runs,
                        const Rows& x, const Rows& out) const = 0;
  // Writes y and advances the states of the scan.
  virtual void Scan(const kernels::Context& context, std::span<const MambaRun> runs,
                    const Values& values) const = 0;
  // Returns y as the input of W_out.
  virtual Rows OutputInput(const kernels::Context& context, const Values& values) const = 0;
  // Visits the weights of the convolution and the scales of codes.
  virtual void VisitOwnParameters(ParameterVisitor visit) const = 0;

  // The tensor "mixer." + `name` of the layer.
  std::string MixerName(const char* name) const { return prefix_ + "mixer." + name; }
  void Observe(const kernels::Context& context, MambaSite site,
               kernels::MatrixView<const float> values) const {
    if (observer_ != nullptr) observer_->Observe(context, layer_, site, values);
  }

  const int64_t d_, E_, N_, R_, W_;
  Linear in_proj_;   // [2E,d]: rows 0..E-1 make x, the rest z
  Linear x_proj_;    // [R+2N,E]: δ, B, C
  Linear dt_proj_;   // [E,R]; the scan adds its bias
  Linear out_proj_;  // [d,E]
  Buffer dt_bias_;   // [E]
  Buffer A_;         // [N,E] = -exp(A_log)
  Buffer D_;         // [E]

 private:
  Values LayOut(Arena& arena, kernels::MatrixView<float> hidden, int64_t rows) const;
  std::vector<MambaRun> RunsOf(std::span<const BlockRun> runs) const;
  void ObserveStates(const kernels::Context& context, std::span<const MambaRun> runs) const;

  const std::string prefix_;
  const Inputs inputs_;
  const MambaStateLayout states_;
  const int64_t layer_;
  MambaObserver* const observer_;
  const float norm_epsilon_;
  Norm norm_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_BLOCK_H_
