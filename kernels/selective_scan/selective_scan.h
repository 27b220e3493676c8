// The selective scan of Mamba-1, with the softplus that makes the step, the skip and the gate.
//
//   Δ[t,e] = softplus(delta[t,e] + delta_bias[e])                      (the identity above 20)
//   h[n,e] = exp(Δ[t,e] · a[n,e]) · h[n,e] + Δ[t,e] · x[t,e] · b[t,n]
//   y[t,e] = (Σ_n h[n,e] · c[t,n] + d[e] · x[t,e]) · SiLU(z[t,e])
//
// Source: Gu & Dao, arXiv 2312.00752, algorithm 2, in the form of Quamba, arXiv 2410.13229: A by
// the exact exponential, B by Euler.
//
// Letters: T rows (tokens of all runs, one run after the other), E channels, N states per channel.
#ifndef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_
#define WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_

#include <cstdint>
#include <span>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The rows [begin, begin + length) belong to one sequence, length >= 1.
// state[N,E]: h, zeros at the sequence's start; advanced in place. Channels lie side by side, so
// that a vector holds neighbouring channels.
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

// A row's result and the state are bit-identical however the sequence is split into runs and
// whatever else is in the batch: time is walked in order, work is split over runs and channels
// only. Any thread; uses the current team (kernels/cpu/team.h).
void SelectiveScan(std::span<const ScanRun> runs, const SelectiveScanOperands& operands);

// The scan of Quamba (arXiv 2410.13229, section 4): inputs are codes, the arithmetic is fp32 as
// above, and the state may be kept in less than fp32.
//
// A run's state, [N,E] of `state_dtype`: kF32, kBF16 or kI8. Where that is less than fp32, h is
// rounded to it after every token, half to even (codes saturate), and the next token goes on from
// what is left; y comes from the state of its token before that is rounded. For kI8 h[n,e] = code ·
// state_scale[n] and code = ToCode(h · (1 / state_scale[n])), where the reciprocal is rounded to
// fp32 before the product is.
//
// So a run of many tokens is the same as many runs of one, on every device: an implementation that
// keeps the state in registers over a run rounds it there.
struct QuantizedScanRun {
  int64_t begin = 0;
  int64_t length = 0;
  void* state = nullptr;
};

// Every matrix of codes with the scales of its columns: value = code · scale[column].
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
// A token's inputs and its state expanded to fp32 give, bit for bit, what the fp32 form makes of
// them. A row's result and the state are bit-identical however the sequence is split into runs and
// whatever else is in the batch. Scales are finite. Nothing is NaN or infinite unless the formula's
// value is beyond fp32. Any thread; uses the current team.
void SelectiveScan(std::span<const QuantizedScanRun> runs, const QuantizedScanOperands& operands);

namespace reference {
void SelectiveScan(std::span<const QuantizedScanRun> runs, const QuantizedScanOperands& operands);
void SelectiveScan(std::span<const ScanRun> runs, const SelectiveScanOperands& operands);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_
