// The backward pass of the scan, one chunk of tokens and one slab of channels at a time.
//
// For two of the N states at a time, Advance() computes h and the decay of all tokens of the chunk
// again from the kept state, and Retreat() walks back over them. So memory for two states is
// enough, and it stays in the second-level cache.
#include <algorithm>

#include "hwy/cache_control.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/selective_scan/selective_scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/selective_scan/selective_scan_backward_cpu.cc"
#include "hwy/foreach_target.h"
// Must follow foreach_target.h, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/selective_scan/decay-inl.h"

#ifndef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_BACKWARD_CPU_CC_
#define WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_BACKWARD_CPU_CC_
namespace whipsnake::kernels {

// Neighbouring channels that are processed together. The sums over channels are taken in slabs. The
// ranges of ParallelChannels() consist of whole slabs, and a slab of whole vectors.
constexpr int64_t kSlab = 64;

constexpr int64_t Slabs(int64_t channels) { return (channels + kSlab - 1) / kSlab; }

// Two states at once load and store the arrays that they share half as often as one. More would not
// fit into the registers of AVX-512.
constexpr int kStatesAtOnce = 2;

// One number for each token of a chunk and each channel of a slab.
using SlabRows = float[kScanChunk][kSlab];

// What a thread keeps while it processes a tile. Where a slab has more lanes than the matrices have
// channels, q, Δ x and h are zero, and so is everything that the lane adds to a sum.
struct TileMemory {
  SlabRows step;    // Δ
  SlabRows step_x;  // Δ x
  SlabRows q;
  // Sums over the states.
  SlabRows p;   // d x + Σ h c
  SlabRows ub;  // Σ u b
  SlabRows uh;  // Σ u a exp(Δ a) h[t-1]
  // Of the states that are processed at once.
  SlabRows decay[kStatesAtOnce];                  // exp(Δ a)
  float h[kStatesAtOnce][kScanChunk + 1][kSlab];  // before every token and after the last
  // Sums over the tokens.
  float gd[kSlab];
  float gdelta_bias[kSlab];
};

struct ScanBackwardOperands {
  const SelectiveScanOperands& forward;
  MatrixView<const float> g;
  const SelectiveScanGradients& gradients;

  int64_t channels() const { return forward.x.cols; }
  int64_t states() const { return forward.b.cols; }
};

// The memory for one sequence, which the threads share: each uses that of its slabs.
struct SequenceMemory {
  float* carry;  // [slabs,N,kSlab], exp(Δ[t+1] a) u[t+1] of the last token processed
  float* sums;   // [slabs,length,2,N], the terms of gb and gc
};

// One chunk of tokens by one slab of channels.
struct Tile {
  int64_t row, rows;
  int64_t begin, width;  // channels
  const float* kept;     // [N,E], the state before the chunk
  float* carry;          // [N,kSlab]
  float* sums;           // [rows,2,N]

  // The tile's first channel of its row t.
  template <typename T>
  T* At(const MatrixView<T>& matrix, int64_t t) const {
    return matrix.row(row + t) + begin;
  }
};

}  // namespace whipsnake::kernels
#endif  // once for all targets

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kVectors = kSlab / kLanes;

// Calls block(i, FullVector or PartOfVector) for all vectors of a slab, of which i is the first
// lane. The parts cover the channels that exist.
template <class Block>
HWY_INLINE void ForEachVectorOfSlab(int64_t width, const Block& block) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < kSlab; i += kLanes) {
    const int64_t left = width - i;
    if (left >= kLanes) {
      block(i, FullVector());
    } else {
      block(i, PartOfVector{std::max<int64_t>(left, 0)});
    }
  }
}

// Computes what does not depend on the states. gdelta and gz receive the factors of the gradients
// that do not: σ(delta + delta_bias) and g SiLU'(z).
void Prepare(const ScanBackwardOperands& o, const Tile& tile, TileMemory& m) {
  const Floats d;
  const SelectiveScanOperands& f = o.forward;
  const float* skip = f.d + tile.begin;
  const float* bias = f.delta_bias != nullptr ? f.delta_bias + tile.begin : nullptr;
  for (int64_t t = 0; t < tile.rows; ++t) {
    const float *x = tile.At(f.x, t), *delta = tile.At(f.delta, t), *z = tile.At(f.z, t);
    const float* g = tile.At(o.g, t);
    float *gx = tile.At(o.gradients.x, t), *gdelta = tile.At(o.gradients.delta, t);
    float* gz = tile.At(o.gradients.z, t);
    ForEachVectorOfSlab(tile.width, [&](int64_t i, auto part) HWY_ATTR {
      // Prefetch the next slab; it arrives while the states of this one are processed. Rows are too
      // far apart for the hardware prefetcher.
      const float* const rows[] = {x, delta, z, g, gx, gdelta, gz};
      for (const float* row : rows) hwy::Prefetch(row + i + kSlab);
      const FloatVec x_i = part.Load(x + i), z_i = part.Load(z + i), g_i = part.Load(g + i);
      FloatVec v = part.Load(delta + i);
      if (bias != nullptr) v = hn::Add(v, part.Load(bias + i));
      const FloatVec step = Softplus(d, v), gate = Sigmoid(d, z_i), silu = hn::Mul(z_i, gate);
      const FloatVec silu_slope = hn::MulAdd(silu, hn::Sub(hn::Set(d, 1.0f), gate), gate);
      hn::Store(step, d, m.step[t] + i);
      hn::Store(hn::Mul(step, x_i), d, m.step_x[t] + i);
      hn::Store(hn::Mul(g_i, silu), d, m.q[t] + i);
      hn::Store(hn::Mul(part.Load(skip + i), x_i), d, m.p[t] + i);
      hn::Store(hn::Zero(d), d, m.ub[t] + i);
      hn::Store(hn::Zero(d), d, m.uh[t] + i);
      part.Store(Sigmoid(d, v), gdelta + i);
      part.Store(hn::Mul(g_i, silu_slope), gz + i);
    });
  }
}

// Computes h and the decay of the states [n, n + kStates) for all tokens, from the kept state.
template <int kStates>
void Advance(const ScanBackwardOperands& o, const Tile& tile, int64_t n, TileMemory& m) {
  const Floats d;
  FloatVec a[kStates][kVectors], h[kStates][kVectors];
  ForEachVectorOfSlab(tile.width, [&](int64_t i, auto part) HWY_ATTR {
#pragma GCC unroll 4
    for (int j = 0; j < kStates; ++j) {
      const int64_t at = (n + j) * o.channels() + tile.begin + i;
      a[j][i / kLanes] = hn::Mul(part.Load(o.forward.a + at), hn::Set(d, kLog2E));
      h[j][i / kLanes] = part.Load(tile.kept + at);
      hn::Store(h[j][i / kLanes], d, m.h[j][0] + i);
    }
  });
  for (int64_t t = 0; t < tile.rows; ++t) {
    const float* b = o.forward.b.row(tile.row + t) + n;
    const float* c = o.forward.c.row(tile.row + t) + n;
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) {
      const int64_t i = v * kLanes;
      const FloatVec step = hn::Load(d, m.step[t] + i), step_x = hn::Load(d, m.step_x[t] + i);
      FloatVec p = hn::Load(d, m.p[t] + i);
#pragma GCC unroll 4
      for (int j = 0; j < kStates; ++j) {
        const FloatVec decay = Decay<false>(step, a[j][v]);
        h[j][v] = hn::MulAdd(decay, h[j][v], hn::Mul(step_x, hn::Set(d, b[j])));
        p = hn::MulAdd(h[j][v], hn::Set(d, c[j]), p);
        hn::Store(decay, d, m.decay[j][t] + i);
        hn::Store(h[j][v], d, m.h[j][t + 1] + i);
      }
      hn::Store(p, d, m.p[t] + i);
    }
  }
}

// Walks back over the tokens for the states [n, n + kStates).
template <int kStates>
void Retreat(const ScanBackwardOperands& o, const Tile& tile, int64_t n, TileMemory& m) {
  const Floats d;
  FloatVec a[kStates][kVectors], ga[kStates][kVectors], carry[kStates][kVectors];
  ForEachVectorOfSlab(tile.width, [&](int64_t i, auto part) HWY_ATTR {
#pragma GCC unroll 4
    for (int j = 0; j < kStates; ++j) {
      a[j][i / kLanes] = part.Load(o.forward.a + (n + j) * o.channels() + tile.begin + i);
      ga[j][i / kLanes] = hn::Zero(d);
      carry[j][i / kLanes] = hn::Load(d, tile.carry + (n + j) * kSlab + i);
    }
  });
  for (int64_t t = tile.rows - 1; t >= 0; --t) {
    const float* b = o.forward.b.row(tile.row + t) + n;
    const float* c = o.forward.c.row(tile.row + t) + n;
    FloatVec gb[kStates], gc[kStates];
#pragma GCC unroll 4
    for (int j = 0; j < kStates; ++j) gb[j] = gc[j] = hn::Zero(d);
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) {
      const int64_t i = v * kLanes;
      const FloatVec q = hn::Load(d, m.q[t] + i), step = hn::Load(d, m.step[t] + i);
      const FloatVec step_x = hn::Load(d, m.step_x[t] + i);
      FloatVec ub = hn::Load(d, m.ub[t] + i), uh = hn::Load(d, m.uh[t] + i);
#pragma GCC unroll 4
      for (int j = 0; j < kStates; ++j) {
        const FloatVec u = hn::MulAdd(q, hn::Set(d, c[j]), carry[j][v]);
        gb[j] = hn::MulAdd(u, step_x, gb[j]);
        gc[j] = hn::MulAdd(q, hn::Load(d, m.h[j][t + 1] + i), gc[j]);
        ub = hn::MulAdd(u, hn::Set(d, b[j]), ub);
        carry[j][v] = hn::Mul(hn::Load(d, m.decay[j][t] + i), u);
        const FloatVec decayed = hn::Mul(carry[j][v], hn::Load(d, m.h[j][t] + i));
        uh = hn::MulAdd(a[j][v], decayed, uh);
        ga[j][v] = hn::MulAdd(step, decayed, ga[j][v]);
      }
      hn::Store(ub, d, m.ub[t] + i);
      hn::Store(uh, d, m.uh[t] + i);
    }
    float* sums = tile.sums + t * 2 * o.states() + n;
#pragma GCC unroll 4
    for (int j = 0; j < kStates; ++j) {
      sums[j] = hn::GetLane(hn::SumOfLanes(d, gb[j]));
      sums[o.states() + j] = hn::GetLane(hn::SumOfLanes(d, gc[j]));
    }
  }
  ForEachVectorOfSlab(tile.width, [&](int64_t i, auto part) HWY_ATTR {
#pragma GCC unroll 4
    for (int j = 0; j < kStates; ++j) {
      hn::Store(carry[j][i / kLanes], d, tile.carry + (n + j) * kSlab + i);
      if (o.gradients.a != nullptr) {
        AddTo(o.gradients.a + (n + j) * o.channels() + tile.begin + i, ga[j][i / kLanes], part);
      }
    }
  });
}

// Turns the sums over the states into gradients.
void Finish(const ScanBackwardOperands& o, const Tile& tile, TileMemory& m) {
  const Floats d;
  const SelectiveScanGradients& gradients = o.gradients;
  const float* skip = o.forward.d + tile.begin;
  std::fill_n(m.gd, kSlab, 0.0f);
  std::fill_n(m.gdelta_bias, kSlab, 0.0f);
  for (int64_t t = 0; t < tile.rows; ++t) {
    const float* x = tile.At(o.forward.x, t);
    float *gx = tile.At(gradients.x, t), *gdelta = tile.At(gradients.delta, t);
    float* gz = tile.At(gradients.z, t);
    ForEachVectorOfSlab(tile.width, [&](int64_t i, auto part) HWY_ATTR {
      const FloatVec x_i = part.Load(x + i), q = hn::Load(d, m.q[t] + i);
      const FloatVec ub = hn::Load(d, m.ub[t] + i), step = hn::Load(d, m.step[t] + i);
      part.Store(hn::MulAdd(step, ub, hn::Mul(q, part.Load(skip + i))), gx + i);
      const FloatVec gstep = hn::MulAdd(x_i, ub, hn::Load(d, m.uh[t] + i));
      const FloatVec gv = hn::Mul(gstep, part.Load(gdelta + i));
      part.Store(gv, gdelta + i);
      part.Store(hn::Mul(part.Load(gz + i), hn::Load(d, m.p[t] + i)), gz + i);
      AddTo(m.gd + i, hn::Mul(q, x_i), FullVector());
      AddTo(m.gdelta_bias + i, gv, FullVector());
    });
  }
  ForEachVectorOfSlab(tile.width, [&](int64_t i, auto part) HWY_ATTR {
    const int64_t e = tile.begin + i;
    if (gradients.d != nullptr) AddTo(gradients.d + e, hn::Load(d, m.gd + i), part);
    if (gradients.delta_bias != nullptr) {
      AddTo(gradients.delta_bias + e, hn::Load(d, m.gdelta_bias + i), part);
    }
  });
}

// Processes the channels [begin, end) of a sequence. states[chunks,N,E] are those before its
// chunks.
void ScanBackwardChannels(const ScanBackwardOperands& o, RowRange sequence, const float* states,
                          int64_t begin, int64_t end, const SequenceMemory& memory, TileMemory& m) {
  const int64_t count = o.states();
  std::fill(memory.carry + begin * count, memory.carry + Slabs(end) * kSlab * count, 0.0f);
  for (int64_t chunk = ScanChunks({&sequence, 1}) - 1; chunk >= 0; --chunk) {
    const int64_t first = chunk * kScanChunk;
    for (int64_t e = begin; e < end; e += kSlab) {
      const Tile tile{.row = sequence.begin + first,
                      .rows = std::min(kScanChunk, sequence.length - first),
                      .begin = e,
                      .width = std::min(kSlab, end - e),
                      .kept = states + chunk * count * o.channels(),
                      .carry = memory.carry + e * count,
                      .sums = memory.sums + (e / kSlab * sequence.length + first) * 2 * count};
      Prepare(o, tile, m);
      int64_t n = 0;
      for (; n + kStatesAtOnce <= count; n += kStatesAtOnce) {
        Advance<kStatesAtOnce>(o, tile, n, m);
        Retreat<kStatesAtOnce>(o, tile, n, m);
      }
      for (; n < count; ++n) {
        Advance<1>(o, tile, n, m);
        Retreat<1>(o, tile, n, m);
      }
      Finish(o, tile, m);
    }
  }
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(ScanBackwardChannels);

namespace {

// Adds up what the slabs have in sums[slabs,length,2,N], in order.
void AddSlabs(const Context& context, RowRange sequence, int64_t slabs, const float* sums,
              const SelectiveScanGradients& gradients) {
  constexpr double kNanosecondsEach = 0.2;
  const int64_t states = gradients.b.cols, size = sequence.length * 2 * states;
  ParallelRows(context, sequence.length, kNanosecondsEach * slabs * size,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   float* gb = gradients.b.row(sequence.begin + t);
                   float* gc = gradients.c.row(sequence.begin + t);
                   std::fill_n(gb, states, 0.0f);
                   std::fill_n(gc, states, 0.0f);
                   for (int64_t slab = 0; slab < slabs; ++slab) {
                     const float* sum = sums + slab * size + t * 2 * states;
                     for (int64_t n = 0; n < states; ++n) gb[n] += sum[n];
                     for (int64_t n = 0; n < states; ++n) gc[n] += sum[states + n];
                   }
                 }
               });
}

}  // namespace

void SelectiveScanBackward(const Context& context, std::span<const RowRange> sequences,
                           const SelectiveScanOperands& operands, const float* states,
                           MatrixView<const float> g, const SelectiveScanGradients& gradients) {
  constexpr double kNanosecondsPerState = 0.7;
  const ScanBackwardOperands o{operands, g, gradients};
  const int64_t channels = o.channels(), slabs = Slabs(channels);
  int64_t longest = 0;
  for (const RowRange& sequence : sequences) longest = std::max(longest, sequence.length);
  OperationScratch scratch(context);
  SequenceMemory memory;
  memory.carry = scratch.Get<float>(slabs * o.states() * (kSlab + 2 * longest));
  memory.sums = memory.carry + slabs * o.states() * kSlab;
  for (const RowRange& sequence : sequences) {
    ParallelChannels(context, channels,
                     kNanosecondsPerState * sequence.length * channels * o.states(),
                     [&](const Context& own, int64_t begin, int64_t end) {
                       OperationScratch tile(own);
                       HWY_DYNAMIC_DISPATCH(ScanBackwardChannels)
                       (o, sequence, states, begin, end, memory, *tile.Get<TileMemory>(1));
                     });
    AddSlabs(context, sequence, slabs, memory.sums, gradients);
    states += ScanChunks({&sequence, 1}) * o.states() * channels;
  }
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
