// The selective scan of Mamba-1, including the softplus of the step, the skip connection and the
// gate.
//
//   Δ[t,e] = softplus(delta[t,e] + delta_bias[e])                      (the identity above 20)
//   h[n,e] = exp(Δ[t,e] · a[n,e]) · h[n,e] + Δ[t,e] · x[t,e] · b[t,n]
//   y[t,e] = (Σ_n h[n,e] · c[t,n] + d[e] · x[t,e]) · SiLU(z[t,e])
//
// Source: Gu & Dao, arXiv 2312.00752, algorithm 2, in the form of Quamba, arXiv 2410.13229: A is
// discretized with the exact exponential, B with Euler's method.
//
// Notation: T rows (tokens of all runs, one run after the other), E channels, N states per channel.
#ifndef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_
#define WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_

#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The rows [begin, begin + length) belong to one sequence, length >= 1. state[N,E] is h: zeros at
// the start of the sequence, and updated in place. Channels are adjacent, so that a vector holds
// neighbouring channels. Does not own the state.
struct ScanRun {
  int64_t begin = 0;
  int64_t length = 0;
  float* state = nullptr;
};

// All fp32. N = b.cols.
struct SelectiveScanOperands {
  MatrixView<const float> x;          // [T,E]
  MatrixView<const float> delta;      // [T,E], W_dt·δ before bias and softplus
  const float* delta_bias = nullptr;  // [E] or null
  const float* a = nullptr;           // [N,E] = -exp(A_log), transposed from the checkpoint's [E,N]
  MatrixView<const float> b;          // [T,N]
  MatrixView<const float> c;          // [T,N]
  const float* d = nullptr;           // [E]
  MatrixView<const float> z;          // [T,E]
  MatrixView<float> y;                // [T,E]; may alias x or delta
};

// A row's result and the state do not depend, bit for bit, on how the sequence is split into runs
// or on the rest of the batch: tokens are processed in order, and threads split only the channels.
// Callable from any thread; runs on the context's team.
void SelectiveScan(const Context& context, std::span<const ScanRun> runs,
                   const SelectiveScanOperands& operands);

// The scan for training: of whole sequences, which start from a state of zeros. It keeps the state
// before every kScanChunk-th token, from which the backward pass computes the others again, one
// chunk at a time; so no [T,N,E] array exists.
inline constexpr int64_t kScanChunk = 64;

// The number of chunks of the sequences: Σ ceil(length / kScanChunk).
int64_t ScanChunks(std::span<const RowRange> sequences);

// y as by SelectiveScan(), bit for bit. states[chunks,N,E] receives the state before each chunk, in
// the order of the sequences. y may not alias x, delta or z, which the backward pass needs. Uses
// N · E floats of the context's scratch memory.
void SelectiveScanForTraining(const Context& context, std::span<const RowRange> sequences,
                              const SelectiveScanOperands& operands, float* states);

// The derivatives of y, given g = ∂L/∂y. With s = SiLU(z), p = Σ_n h c + d x (so y = p s) and
// q[t] = g[t] s[t], going backwards over the tokens of a sequence with u, the derivative for h[t]:
//
//   u[n,e] = q[t,e] c[t,n] + exp(Δ[t+1,e] a[n,e]) u'[n,e]          (u' of token t+1; 0 at the end)
//   gz[t,e] = g p SiLU'(z);  gc[t,n] = Σ_e q h[n,e];  gb[t,n] = Σ_e u Δ x
//   gx[t,e] = q d + Δ Σ_n u b;  gd[e] += Σ_t q x;  ga[n,e] += Σ_t u Δ exp(Δ a) h[t-1]
//   gΔ[t,e] = Σ_n u (a exp(Δ a) h[t-1] + x b);  gdelta = gΔ σ(delta + delta_bias)
//   gdelta_bias[e] += Σ_t gdelta[t,e]
//
// σ is 1 where softplus is the identity. Matrices are overwritten; vectors are added to, and are
// null if they are not wanted. All fp32; no output may alias another operand.
struct SelectiveScanGradients {
  MatrixView<float> x;          // [T,E]
  MatrixView<float> delta;      // [T,E]
  MatrixView<float> b, c;       // [T,N]
  MatrixView<float> z;          // [T,E]
  float* delta_bias = nullptr;  // [E]
  float* a = nullptr;           // [N,E]
  float* d = nullptr;           // [E]
};
// `states` are those that SelectiveScanForTraining() kept; operands.y is not used. Threads split
// the channels, and the sums over channels are taken in fixed groups, so no result depends on the
// number of threads, bit for bit. Callable from any thread; runs on the context's team. Uses
// ceil(E / 64) · N · (64 + 2 · L) floats of the context's scratch memory, where L is the number of
// rows of the longest sequence, and 161 KiB for each thread.
void SelectiveScanBackward(const Context& context, std::span<const RowRange> sequences,
                           const SelectiveScanOperands& operands, const float* states,
                           MatrixView<const float> g, const SelectiveScanGradients& gradients);

// The scan of Quamba (arXiv 2410.13229, section 4): inputs are codes, the arithmetic is fp32 as
// above, and the state may have a narrower type than fp32.
//
// A run's state is [N,E] of `state_dtype`: kF32, kBF16 or kI8. For kBF16 and kI8, h is rounded to
// that type after every token, half to even (codes saturate), and the next token continues from the
// rounded value. y is computed from its token's state before rounding. For kI8, h[n,e] = code ·
// state_scale[n] and code = ToCode(h · (1 / state_scale[n])), where the reciprocal is rounded to
// fp32 before the multiplication.
//
// So a run of many tokens gives the same result as many runs of one token, on every device. An
// implementation that keeps the state in registers during a run must round it there.
struct QuantizedScanRun {
  int64_t begin = 0;
  int64_t length = 0;
  void* state = nullptr;
};

// A matrix of codes and the scales of its columns: value = code · scale[column]. Owns nothing.
struct ScaledCodes {
  MatrixView<const int8_t> codes;
  const float* scale = nullptr;
};

struct QuantizedScanOperands {
  ScaledCodes x;                      // [T,E]
  ScaledCodes delta;                  // [T,E], W_dt·δ before bias and softplus
  const float* delta_bias = nullptr;  // [E] or null
  const float* a = nullptr;           // [N,E]
  ScaledCodes b;                      // [T,N]
  ScaledCodes c;                      // [T,N]
  const float* d = nullptr;           // [E]
  ScaledCodes z;                      // [T,E]
  DType state_dtype = DType::kF32;
  const float* state_scale = nullptr;  // [N] for kI8, positive normal numbers; else null
  MatrixView<float> y;                 // [T,E]
};
// For each token the result equals, bit for bit, that of the fp32 form with the inputs and the
// state expanded to fp32. A row's result and the state do not depend, bit for bit, on how the
// sequence is split into runs or on the rest of the batch. Scales must be finite. Results are NaN
// or infinite only if the value of the formula exceeds the range of fp32. Callable from any thread;
// runs on the context's team.
void SelectiveScan(const Context& context, std::span<const QuantizedScanRun> runs,
                   const QuantizedScanOperands& operands);

namespace reference {
void SelectiveScan(std::span<const QuantizedScanRun> runs, const QuantizedScanOperands& operands);
void SelectiveScan(std::span<const ScanRun> runs, const SelectiveScanOperands& operands);
// Computes in fp64, without kept states, and rounds once.
void SelectiveScanBackward(std::span<const RowRange> sequences,
                           const SelectiveScanOperands& operands, MatrixView<const float> g,
                           const SelectiveScanGradients& gradients);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_
