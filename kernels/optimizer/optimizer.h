// The updates of optimizers, fused: one pass over a tensor and its moments.
//
// AdamW (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2, as in PyTorch's torch.optim.AdamW), of
// step s = 1, 2, ...:
//
//   g' = scale · g;  w -= lr · decay · w
//   m = β1 m + (1 - β1) g';  v = β2 v + (1 - β2) g'²
//   w -= lr / (1 - β1^s) · m / (sqrt(v) / sqrt(1 - β2^s) + ε)
//
// SGD with momentum μ, as in torch.optim.SGD without dampening:
//
//   g' = scale · g + decay · w;  m = μ m + g' (m = g' in step 1);  w -= lr · m
//
// Notation: n elements.
#ifndef WHIPSNAKE_KERNELS_OPTIMIZER_OPTIMIZER_H_
#define WHIPSNAKE_KERNELS_OPTIMIZER_OPTIMIZER_H_

#include <cstdint>
#include <limits>

#include "kernels/context.h"

namespace whipsnake::kernels {

struct AdamW {
  double learning_rate = 0;  // lr
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;      // above 0
  double weight_decay = 0;    // decay
  double gradient_scale = 1;  // scale: of clipping, and of the average over accumulated batches
  int64_t step = 1;           // s, from 1
};

struct Sgd {
  double learning_rate = 0;
  double momentum = 0;  // μ
  double weight_decay = 0;
  double gradient_scale = 1;
  int64_t step = 1;  // from 1
};

// What an update did: sums over its elements, of w, the value before, and Δw, the fp32 value after
// minus the one before, which includes weight decay. Terms, and sums of up to 1024 of them, are
// computed in fp32. So these have a relative error below 1e-5, unless they leave its range.
struct UpdateMeasure {
  static constexpr float kMinMagnitude = 1e-8f;

  double relative_change = 0;   // Σ |Δw| / |w|: infinite or NaN if a w is 0
  double guarded_change = 0;    // Σ |Δw| / max(|w|, kMinMagnitude) over w other than 0
  double change_squares = 0;    // Σ Δw²
  double value_squares = 0;     // Σ w²
  double gradient_squares = 0;  // Σ (scale · g)²

  UpdateMeasure& operator+=(const UpdateMeasure& other);
};

// g[n] is read; w[n], m[n] and v[n] are updated in place. No arrays alias. Factors that all
// elements share are computed in fp64, elements in fp32. If `bf16` is not null, bf16[i] :=
// ToBF16(w[i]) after the update. If `measure` is not null, it becomes the measure of this update,
// and no bit of anything else changes. The results do not depend on the number of threads, bit for
// bit. The same holds for the functions below. Callable from any thread; run on the context's team.
// n = 0 is allowed.
void Update(const Context& context, const AdamW& adamw, const float* g, int64_t n, float* w,
            float* m, float* v, uint16_t* bf16 = nullptr, UpdateMeasure* measure = nullptr);

// m may be null if the momentum is 0. It is not read in step 1.
void Update(const Context& context, const Sgd& sgd, const float* g, int64_t n, float* w, float* m,
            uint16_t* bf16 = nullptr, UpdateMeasure* measure = nullptr);

// Moments in 8 bits (Dettmers et al., arXiv 2110.02861, section 2): blocks of kMomentBlock elements
// with one scale each, the largest magnitude of the block but at least kMinMomentScale, and codes
// of the dynamic tree data type (kernels/optimizer/moment_code.h), signed for m and unsigned for v.
// A moment is decoded, updated in fp32, used as such for w, and rounded to the nearest code. But a
// v above 0 gets at least the code 1: beside an m other than 0, a v of 0 would make the next step
// too large by orders of magnitude.
//
// Rounding loses changes of a moment that are below half the gap between two codes. If gradients
// become much smaller during a run, a v may therefore fall to about half of its value in fp32.
//
// Zeroed memory decodes to 0, the moments before step 1. If a moment of a block is not finite,
// neither is the block's scale, and no moment of the block decodes to a finite number.
inline constexpr int64_t kMomentBlock = 256;
// The smallest normal number, whose inverse is finite too.
inline constexpr float kMinMomentScale = std::numeric_limits<float>::min();
constexpr int64_t MomentBlocks(int64_t n) { return (n + kMomentBlock - 1) / kMomentBlock; }
struct Moments8 {
  uint8_t* m = nullptr;      // [n]
  uint8_t* v = nullptr;      // [n]
  float* m_scale = nullptr;  // [MomentBlocks(n)]
  float* v_scale = nullptr;  // [MomentBlocks(n)]
};
void Update(const Context& context, const AdamW& adamw, const float* g, int64_t n, float* w,
            const Moments8& moments, uint16_t* bf16 = nullptr, UpdateMeasure* measure = nullptr);

// The values of the 256 codes, in [-1,1] for m and [0,1] for v, where code 0 is 0.
const float* MomentValues(bool is_signed);

// Σ x[i]², in fp64, with a relative error below 1e-6. Blocks are summed in a fixed order. NaN or
// infinite if an element is.
double SumOfSquares(const Context& context, const float* x, int64_t n);

namespace reference {
// Compute in fp64 and round w, m and v once.
void Update(const AdamW& adamw, const float* g, int64_t n, float* w, float* m, float* v);
void Update(const Sgd& sgd, const float* g, int64_t n, float* w, float* m);
// Decodes, calls the above and encodes.
void Update(const AdamW& adamw, const float* g, int64_t n, float* w, const Moments8& moments);
// The measure of an update of before[n] to after[n].
UpdateMeasure Measure(const float* before, const float* after, const float* g,
                      double gradient_scale, int64_t n);
double SumOfSquares(const float* x, int64_t n);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_OPTIMIZER_OPTIMIZER_H_
