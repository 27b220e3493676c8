// The scan walks time for one vector of channels at a time, with up to 16 states in registers.
//
// Per token and state it is bound by arithmetic: 13 vector instructions, of which 10 are
// multiplications or fused multiply-adds, most of them exp(Δa). So that exponential is written out
// here for what the scan needs. 2^v with v = Δ · (a log2 e) saves the products with log2 e and ln
// 2; five terms leave an error of 9.4e-8, below a unit in the last place; and the constant term is
// exactly 1, so that a slowly forgetting state (Δa near 0) gathers no bias over time.
#include <algorithm>

#include "hwy/cache_control.h"
#include "kernels/cpu/parallel.h"
#include "kernels/selective_scan/selective_scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/selective_scan/selective_scan_cpu.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kTileVectors = 32;

// Some tokens by some channels, kTileVectors vectors at most: many tokens of one vector in a
// prefill, one token of many vectors in a decode step. Either way the steps and gates within a tile
// do not depend on one another nor on the recurrence, so that they overlap, and they stay in the
// nearest cache.
struct Tile {
  int64_t row, rows;
  int64_t begin, end;                             // channels
  HWY_ALIGN float step[kTileVectors * kLanes];    // Δ
  HWY_ALIGN float step_x[kTileVectors * kLanes];  // Δ · x
  HWY_ALIGN float y[kTileVectors * kLanes];       // d · x, then plus the states' sums

  int64_t width() const { return (end - begin + kLanes - 1) / kLanes * kLanes; }
};

// |Δ a log2 e| below which 2^v is a normal number, and scaling by it an addition to the exponent.
constexpr float kOrdinary = 125.0f;

// 2^v for v = step · a, a in units of log2 e. kOrdinaryOnly leaves out the care for exponents
// beyond the normal numbers' (they become zero or infinity) and gives the same bits for all others.
template <bool kOrdinaryOnly>
HWY_INLINE FloatVec Decay(FloatVec step, FloatVec a) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const FloatVec magic = hn::Set(d, kRoundToInteger);
  FloatVec shifted = hn::MulAdd(step, a, magic);
  if constexpr (!kOrdinaryOnly) {
    shifted = AtMost(d, kRoundToInteger + 128, AtLeast(d, kRoundToInteger - 127, shifted));
  }
  FloatVec r = hn::MulSub(step, a, hn::Sub(shifted, magic));
  if constexpr (!kOrdinaryOnly) r = AtLeast(d, -1.0f, r);
  const FloatVec p =
      Horner(d, r, {0.00132697239f, 0.00967139285f, 0.0555071086f, 0.240222454f, 0.693147004f, 1});
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  if constexpr (kOrdinaryOnly) return hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
  const auto one = hn::BitCast(di, hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::Add(exponent, one)));
}

// Advances the states by one token; returns Σ h · c.
template <bool kOrdinaryOnly, int kStates>
HWY_INLINE FloatVec Step(const FloatVec (&a)[kStates], FloatVec step, FloatVec step_x,
                         const float* b, const float* c, FloatVec (&h)[kStates]) {
  const Floats d;
  FloatVec even = hn::Zero(d), odd = hn::Zero(d);  // two sums: half the latency
#pragma GCC unroll 16
  for (int n = 0; n < kStates; ++n) {
    const FloatVec input = hn::Mul(step_x, hn::Set(d, b[n]));
    h[n] = hn::MulAdd(Decay<kOrdinaryOnly>(step, a[n]), h[n], input);
    FloatVec& sum = n % 2 == 0 ? even : odd;
    sum = hn::MulAdd(h[n], hn::Set(d, c[n]), sum);
  }
  return hn::Add(even, odd);
}

void ComputeSteps(const SelectiveScanOperands& o, Tile& tile) {
  const Floats d;
  for (int64_t t = 0; t < tile.rows; ++t) {
    const int64_t row = tile.row + t;
    ForEachVector(tile.begin, tile.end, [&](int64_t e, auto part) HWY_ATTR {
      // The next tile's inputs, which the recurrence of this one gives time to arrive: rows lie too
      // far apart for the hardware to foresee them.
      for (const auto& matrix : {o.x, o.delta, o.z})
        hwy::Prefetch(matrix.row(row) + e + tile.width());
      const FloatVec bias = o.delta_bias != nullptr ? part.Load(o.delta_bias + e) : hn::Zero(d);
      const FloatVec x = part.Load(o.x.row(row) + e);
      const FloatVec step = Softplus(d, hn::Add(part.Load(o.delta.row(row) + e), bias));
      const int64_t at = t * tile.width() + e - tile.begin;
      hn::Store(step, d, tile.step + at);
      hn::Store(hn::Mul(step, x), d, tile.step_x + at);
      hn::Store(hn::Mul(part.Load(o.d + e), x), d, tile.y + at);
    });
  }
}

// The recurrence of states [n, n + kStates) for the vector of channels at e.
template <int kStates, class Part>
HWY_INLINE void Recur(const SelectiveScanOperands& o, float* state, int64_t n, int64_t e, Part part,
                      Tile& tile) {
  const Floats d;
  FloatVec a[kStates], h[kStates];
  FloatVec largest = hn::Zero(d);  // |a|
#pragma GCC unroll 16
  for (int i = 0; i < kStates; ++i) {
    const int64_t offset = (n + i) * o.x.cols + e;
    a[i] = hn::Mul(part.Load(o.a + offset), hn::Set(d, 0x1.715476p0f));  // log2(e)
    h[i] = part.Load(state + offset);
    largest = hn::Max(largest, hn::Abs(a[i]));
    // Of the next vector: a decode step comes to each but once, and they are too many streams at
    // once for the hardware's prefetcher.
    hwy::Prefetch(o.a + offset + kLanes);
    hwy::Prefetch(state + offset + kLanes);
  }
  for (int64_t t = 0; t < tile.rows; ++t) {
    const int64_t at = t * tile.width() + e - tile.begin;
    const FloatVec step = hn::Load(d, tile.step + at);
    const FloatVec step_x = hn::Load(d, tile.step_x + at);
    const float* b = o.b.row(tile.row + t) + n;
    const float* c = o.c.row(tile.row + t) + n;
    const bool ordinary = hn::AllTrue(d, hn::Lt(hn::Mul(step, largest), hn::Set(d, kOrdinary)));
    const FloatVec sum = HWY_LIKELY(ordinary) ? Step<true, kStates>(a, step, step_x, b, c, h)
                                              : Step<false, kStates>(a, step, step_x, b, c, h);
    hn::Store(hn::Add(hn::Load(d, tile.y + at), sum), d, tile.y + at);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kStates; ++i) part.Store(h[i], state + (n + i) * o.x.cols + e);
}

void RecurAllStates(const SelectiveScanOperands& o, float* state, Tile& tile) {
  ForEachVector(tile.begin, tile.end, [&](int64_t e, auto part) HWY_ATTR {
    int64_t n = 0;
    for (; n + 16 <= o.b.cols; n += 16) Recur<16>(o, state, n, e, part, tile);
    for (; n < o.b.cols; ++n) Recur<1>(o, state, n, e, part, tile);
  });
}

void Gate(const SelectiveScanOperands& o, const Tile& tile) {
  const Floats d;
  for (int64_t t = 0; t < tile.rows; ++t) {
    const int64_t row = tile.row + t;
    ForEachVector(tile.begin, tile.end, [&](int64_t e, auto part) HWY_ATTR {
      const FloatVec y = hn::Load(d, tile.y + t * tile.width() + e - tile.begin);
      part.Store(hn::Mul(y, Silu(d, part.Load(o.z.row(row) + e))), o.y.row(row) + e);
    });
  }
}

// Time outside, channels inside: walking a channel through all of its rows, which lie far apart,
// would miss the cache and the page table at every token.
void ScanChannels(const SelectiveScanOperands& o, const ScanRun& run, int64_t begin, int64_t end) {
  Tile tile;
  const int64_t rows = std::min(run.length, kTileVectors);
  const int64_t channels = kTileVectors / rows * kLanes;
  for (int64_t t = 0; t < run.length; t += rows) {
    tile.row = run.begin + t;
    tile.rows = std::min(rows, run.length - t);
    for (tile.begin = begin; tile.begin < end; tile.begin += channels) {
      tile.end = std::min(tile.begin + channels, end);
      ComputeSteps(o, tile);
      RecurAllStates(o, run.state, tile);
      Gate(o, tile);
    }
  }
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(ScanChannels);

void SelectiveScan(std::span<const ScanRun> runs, const SelectiveScanOperands& operands) {
  constexpr double kNanosecondsPerState = 0.3;
  int64_t rows = 0;
  for (const ScanRun& run : runs) rows += run.length;
  const double nanoseconds = kNanosecondsPerState * rows * operands.x.cols * operands.b.cols;
  ParallelChannels(operands.x.cols, nanoseconds, [&](int64_t begin, int64_t end) {
    for (const ScanRun& run : runs) {
      HWY_DYNAMIC_DISPATCH(ScanChannels)(operands, run, begin, end);
    }
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
