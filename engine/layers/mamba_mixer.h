// The mixer of a Mamba-1 block.
//
// Source: Gu & Dao, arXiv 2312.00752, section 3.4, in the notation of Quamba, arXiv 2410.13229.
//
// Letters: T tokens of all runs, d model width, E inner width, N states per channel, R rank of Δ, W
// taps of the convolution.
#ifndef WHIPSNAKE_ENGINE_LAYERS_MAMBA_MIXER_H_
#define WHIPSNAKE_ENGINE_LAYERS_MAMBA_MIXER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/checkpoint/config.h"
#include "engine/layers/weights.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The rows [begin, begin + length) of a batch and the recurrent state of their sequence in one
// layer.
struct MambaMixerRun {
  int64_t begin = 0;
  int64_t length = 0;
  float* conv_state = nullptr;  // [W-1,E]
  float* scan_state = nullptr;  // [N,E]
};

// Scratch for T rows; the contents mean nothing between calls.
struct MambaMixerWorkspace {
  kernels::MatrixView<float> xz;     // [T,2E]
  kernels::MatrixView<float> conv;   // [T,E]
  kernels::MatrixView<float> dbc;    // [T,R+2N]
  kernels::MatrixView<float> delta;  // [T,E]

  // Floats that one row needs.
  static int64_t FloatsPerRow(const MambaConfig& config);
  // Lays the matrices out in memory[rows * FloatsPerRow].
  MambaMixerWorkspace(const MambaConfig& config, int64_t rows, float* memory);
};

// Immutable; movable.
class MambaMixer {
 public:
  // Tensors are named `prefix` + "in_proj.weight" and so on. The loader's checkpoint outlives the
  // mixer.
  static absl::StatusOr<MambaMixer> Load(WeightLoader& loader, const std::string& prefix,
                                         const MambaConfig& config);

  // y[T,d] = mixer(u[T,d]); y may alias u. Advances the states of the runs. Called on the executor.
  void Forward(std::span<const MambaMixerRun> runs, kernels::MatrixView<const float> u,
               const MambaMixerWorkspace& workspace, kernels::MatrixView<float> y) const;

  // Appends every weight that Forward reads.
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const;

 private:
  int64_t E_, N_, R_, W_;
  WeightMatrix in_proj_;   // [2E,d]: rows 0..E-1 make x, the rest z
  Buffer in_proj_bias_;    // [2E] or empty
  Buffer conv_weight_;     // [W,E]
  Buffer conv_bias_;       // [E] or empty
  WeightMatrix x_proj_;    // [R+2N,E]: δ, B, C
  WeightMatrix dt_proj_;   // [E,R]
  Buffer dt_bias_;         // [E]
  Buffer A_;               // [N,E] = -exp(A_log)
  Buffer D_;               // [E]
  WeightMatrix out_proj_;  // [d,E]
  Buffer out_proj_bias_;   // [d] or empty
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_MAMBA_MIXER_H_
