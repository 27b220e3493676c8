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

#include "kernels/context.h"

namespace whipsnake::kernels {

struct AdamW {
  float learning_rate = 0;  // lr
  float beta1 = 0.9f, beta2 = 0.999f;
  float epsilon = 1e-8f;
  float weight_decay = 0;    // decay
  float gradient_scale = 1;  // scale: of clipping, and of the average over accumulated batches
  int64_t step = 1;          // s, from 1
};

struct Sgd {
  float learning_rate = 0;
  float momentum = 0;  // μ
  float weight_decay = 0;
  float gradient_scale = 1;
  int64_t step = 1;  // from 1
};

// g[n] is read; w[n], m[n] and v[n] are updated in place. Step sizes and corrections by β^s are
// computed in fp64, elements in fp32. The results do not depend on the number of threads, bit for
// bit. If `bf16` is not null, bf16[i] := ToBF16(w[i]) after the update. The same holds for the
// functions below. Callable from any thread; run on the context's team. n = 0 is allowed.
void Update(const Context& context, const AdamW& adamw, const float* g, int64_t n, float* w,
            float* m, float* v, uint16_t* bf16 = nullptr);

// m may be null if the momentum is 0.
void Update(const Context& context, const Sgd& sgd, const float* g, int64_t n, float* w, float* m,
            uint16_t* bf16 = nullptr);

// Moments in 8 bits (Dettmers et al., arXiv 2110.02861, section 2): blocks of kMomentBlock elements
// with one scale each, the largest magnitude of the block, and codes of the dynamic tree data type,
// signed for m and unsigned for v. A moment is decoded, updated in fp32, used as such for w, and
// rounded to the nearest code (of two, the one nearer to zero). All-zero blocks have the scale 0.
// Codes of zeroed memory and scales of 0 decode to 0, the moments before step 1.
inline constexpr int64_t kMomentBlock = 256;
constexpr int64_t MomentBlocks(int64_t n) { return (n + kMomentBlock - 1) / kMomentBlock; }
struct Moments8 {
  uint8_t* m = nullptr;      // [n]
  uint8_t* v = nullptr;      // [n]
  float* m_scale = nullptr;  // [MomentBlocks(n)]
  float* v_scale = nullptr;  // [MomentBlocks(n)]
};
void Update(const Context& context, const AdamW& adamw, const float* g, int64_t n, float* w,
            const Moments8& moments, uint16_t* bf16 = nullptr);

// The values of the 256 codes, in [-1,1] for m and [0,1] for v, where code 0 is 0.
const float* MomentValues(bool is_signed);

// Σ x[i]², in fp64, with a relative error below 1e-6. Blocks are summed in a fixed order. NaN or
// infinite if an element is.
double SumOfSquares(const Context& context, const float* x, int64_t n);

// y[i] += x[i].
void Add(const Context& context, const float* x, int64_t n, float* y);

namespace reference {
// Compute in fp64 and round w, m and v once.
void Update(const AdamW& adamw, const float* g, int64_t n, float* w, float* m, float* v);
void Update(const Sgd& sgd, const float* g, int64_t n, float* w, float* m);
// Decodes, calls the above and encodes.
void Update(const AdamW& adamw, const float* g, int64_t n, float* w, const Moments8& moments);
double SumOfSquares(const float* x, int64_t n);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_OPTIMIZER_OPTIMIZER_H_
