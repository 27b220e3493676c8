// The scan processes tokens in order for one vector of channels at a time, with up to 16 states in
// registers.
//
// It is bound by arithmetic, most of it the decay (decay-inl.h). Codes and narrow states are
// expanded when they are loaded (b and c beforehand, scan_scratch.h). After that, all forms of the
// scan do the same arithmetic, bit for bit, except that narrow states are rounded in registers
// between tokens.
#include <algorithm>
#include <type_traits>

#include "hwy/cache_control.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/selective_scan/scan_scratch.h"
#include "kernels/selective_scan/selective_scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/selective_scan/selective_scan_cpu.cc"
#include "hwy/foreach_target.h"
// Must follow foreach_target.h, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/selective_scan/decay-inl.h"
#include "kernels/selective_scan/states-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileVectors = 64;

// A block of tokens by channels, at most kTileRows rows and kTileVectors vectors. In a decode step
// it is one token of many vectors. The steps and gates within a tile depend neither on each other
// nor on the recurrence, so their computations overlap, and they stay in the first-level cache.
// More rows of fewer channels would load and store states less often. But rows are a multiple of
// the page size apart, and few such lines fit into the first-level cache at once.
struct Tile {
  int64_t row, rows;
  int64_t begin, end;                             // channels
  HWY_ALIGN float step[kTileVectors * kLanes];    // Δ
  HWY_ALIGN float step_x[kTileVectors * kLanes];  // Δ · x
  HWY_ALIGN float y[kTileVectors * kLanes];       // d · x; the states' sums are added later

  int64_t width() const { return (end - begin + kLanes - 1) / kLanes * kLanes; }
};

// The coefficients of the recurrence, in fp32 for all forms.
struct Coefficients {
  const float* a;                // [N,E]
  MatrixView<const float> b, c;  // [T,N]
};

template <class Part>
HWY_INLINE FloatVec Load(const MatrixView<const float>& matrix, int64_t row, int64_t e, Part part) {
  return part.Load(matrix.row(row) + e);
}

template <class Part>
HWY_INLINE FloatVec Load(const ScaledCodes& matrix, int64_t row, int64_t e, Part part) {
  return hn::Mul(part.LoadCodes(matrix.codes.row(row) + e), part.Load(matrix.scale + e));
}

// Prefetches the element `width` columns after e, or the next cache line if that is farther.
template <class T>
HWY_INLINE void PrefetchAhead(const MatrixView<T>& matrix, int64_t row, int64_t e, int64_t width) {
  constexpr int64_t kLine = 64 / sizeof(T);
  hwy::Prefetch(matrix.row(row) + e + std::max(width, kLine));
}
HWY_INLINE void PrefetchAhead(const ScaledCodes& matrix, int64_t row, int64_t e, int64_t width) {
  PrefetchAhead(matrix.codes, row, e, width);
}

// Advances the states [n, n + kStates) by one token and returns Σ h · c. Unless kLoaded, first
// rounds the h that the previous token left in registers. The h of the last token is rounded when
// it is stored.
template <bool kOrdinaryOnly, bool kLoaded, class States, int kStates>
HWY_INLINE FloatVec Step(const States& states, int64_t n, const FloatVec (&a)[kStates],
                         FloatVec step, FloatVec step_x, const float* b, const float* c,
                         FloatVec (&h)[kStates]) {
  const Floats d;
  FloatVec even = hn::Zero(d), odd = hn::Zero(d);  // two sums halve the latency
#pragma GCC unroll 16
  for (int i = 0; i < kStates; ++i) {
    const FloatVec input = hn::Mul(step_x, hn::Set(d, b[i]));
    const FloatVec before = kLoaded ? h[i] : states.Round(h[i], n + i);
    h[i] = hn::MulAdd(Decay<kOrdinaryOnly>(step, a[i]), before, input);
    FloatVec& sum = i % 2 == 0 ? even : odd;
    sum = hn::MulAdd(h[i], hn::Set(d, c[i]), sum);
  }
  return hn::Add(even, odd);
}

template <class Operands>
void ComputeSteps(const Operands& o, Tile& tile) {
  const Floats d;
  for (int64_t t = 0; t < tile.rows; ++t) {
    const int64_t row = tile.row + t;
    ForEachVector(tile.begin, tile.end, [&](int64_t e, auto part) HWY_ATTR {
      // Prefetch the next tile's inputs; they arrive during the recurrence of this tile. Rows are
      // too far apart for the hardware prefetcher.
      for (const auto& matrix : {o.x, o.delta, o.z}) PrefetchAhead(matrix, row, e, tile.width());
      const FloatVec bias = o.delta_bias != nullptr ? part.Load(o.delta_bias + e) : hn::Zero(d);
      const FloatVec x = Load(o.x, row, e, part);
      const FloatVec step = Softplus(d, hn::Add(Load(o.delta, row, e, part), bias));
      const int64_t at = t * tile.width() + e - tile.begin;
      hn::Store(step, d, tile.step + at);
      hn::Store(hn::Mul(step, x), d, tile.step_x + at);
      hn::Store(hn::Mul(part.Load(o.d + e), x), d, tile.y + at);
    });
  }
}

// Runs the recurrence of states [n, n + kStates) for the vector of channels at e.
template <int kStates, class States, class Part>
HWY_INLINE void Recur(const Coefficients& coefficients, const States& states, int64_t n, int64_t e,
                      Part part, Tile& tile) {
  const Floats d;
  FloatVec a[kStates], h[kStates];
  FloatVec largest = hn::Zero(d);  // |a|
#pragma GCC unroll 16
  for (int i = 0; i < kStates; ++i) {
    const float* a_at = coefficients.a + (n + i) * states.channels + e;
    a[i] = hn::Mul(part.Load(a_at), hn::Set(d, kLog2E));
    h[i] = states.Load(n + i, e, part);
    largest = hn::Max(largest, hn::Abs(a[i]));
    // Prefetch the next cache line: a decode step visits each line only once, and there are too
    // many streams for the hardware prefetcher.
    hwy::Prefetch(reinterpret_cast<const char*>(a_at) + 64);
    hwy::Prefetch(reinterpret_cast<const char*>(states.at(n + i, e)) + 64);
  }
  const auto token = [&](int64_t t, auto loaded) HWY_ATTR {
    const int64_t at = t * tile.width() + e - tile.begin;
    const FloatVec step = hn::Load(d, tile.step + at);
    const FloatVec step_x = hn::Load(d, tile.step_x + at);
    const float* b = coefficients.b.row(tile.row + t) + n;
    const float* c = coefficients.c.row(tile.row + t) + n;
    const bool ordinary = hn::AllTrue(d, hn::Lt(hn::Mul(step, largest), hn::Set(d, kOrdinary)));
    const FloatVec sum = HWY_LIKELY(ordinary)
                             ? Step<true, loaded()>(states, n, a, step, step_x, b, c, h)
                             : Step<false, loaded()>(states, n, a, step, step_x, b, c, h);
    hn::Store(hn::Add(hn::Load(d, tile.y + at), sum), d, tile.y + at);
  };
  // Exact states are never rounded, so one loop handles all their tokens.
  int64_t t = 0;
  if constexpr (!States::kExact) token(t++, std::true_type());
  for (; t < tile.rows; ++t) token(t, std::bool_constant<States::kExact>());
#pragma GCC unroll 16
  for (int i = 0; i < kStates; ++i) states.Store(h[i], n + i, e, part);
}

template <class States>
void RecurAllStates(const Coefficients& coefficients, const States& states, Tile& tile) {
  ForEachVector(tile.begin, tile.end, [&](int64_t e, auto part) HWY_ATTR {
    const int64_t count = coefficients.b.cols;
    int64_t n = 0;
    for (; n + 16 <= count; n += 16) Recur<16>(coefficients, states, n, e, part, tile);
    for (; n < count; ++n) Recur<1>(coefficients, states, n, e, part, tile);
  });
}

template <class Operands>
void Gate(const Operands& o, const Tile& tile) {
  const Floats d;
  for (int64_t t = 0; t < tile.rows; ++t) {
    const int64_t row = tile.row + t;
    ForEachVector(tile.begin, tile.end, [&](int64_t e, auto part) HWY_ATTR {
      const FloatVec y = hn::Load(d, tile.y + t * tile.width() + e - tile.begin);
      part.Store(hn::Mul(y, Silu(d, Load(o.z, row, e, part))), o.y.row(row) + e);
    });
  }
}

// Scans the channels [begin, end) of a run. Time is the outer loop and channels the inner one: the
// rows of a channel are far apart, so walking through them for one channel would miss the cache and
// the TLB at every token.
template <class Run, class Operands, class States>
void ScanRunOf(const Run& run, const Operands& o, const Coefficients& coefficients,
               const States& states, int64_t begin, int64_t end) {
  Tile tile;
  const int64_t rows = std::min(run.length, kTileRows);
  const int64_t channels = kTileVectors / rows * kLanes;
  for (int64_t t = 0; t < run.length; t += rows) {
    tile.row = run.begin + t;
    tile.rows = std::min(rows, run.length - t);
    for (tile.begin = begin; tile.begin < end; tile.begin += channels) {
      tile.end = std::min(tile.begin + channels, end);
      ComputeSteps(o, tile);
      RecurAllStates(coefficients, states, tile);
      Gate(o, tile);
    }
  }
}

void ScanChannels(std::span<const ScanRun> runs, const SelectiveScanOperands& o, int64_t begin,
                  int64_t end) {
  for (const ScanRun& run : runs) {
    ScanRunOf(run, o, {o.a, o.b, o.c}, FloatStates{run.state, o.y.cols}, begin, end);
  }
}

void ScanQuantizedChannels(std::span<const QuantizedScanRun> runs, const QuantizedScanOperands& o,
                           const ScanScratch& scratch, int64_t begin, int64_t end) {
  const int64_t channels = o.y.cols;
  const Coefficients coefficients{o.a,
                                  {scratch.b.data(), o.b.codes.rows, o.b.codes.cols},
                                  {scratch.c.data(), o.c.codes.rows, o.c.codes.cols}};
  for (const QuantizedScanRun& run : runs) {
    if (o.state_dtype == DType::kI8) {
      const CodeStates states{static_cast<int8_t*>(run.state), channels, o.state_scale,
                              scratch.state_reciprocal.data()};
      ScanRunOf(run, o, coefficients, states, begin, end);
    } else if (o.state_dtype == DType::kBF16) {
      const BF16States states{static_cast<uint16_t*>(run.state), channels};
      ScanRunOf(run, o, coefficients, states, begin, end);
    } else {
      const FloatStates states{static_cast<float*>(run.state), channels};
      ScanRunOf(run, o, coefficients, states, begin, end);
    }
  }
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(ScanChannels);
HWY_EXPORT(ScanQuantizedChannels);

namespace {

// Estimates the time of the work on one thread. The runs may be sequences.
template <class Run>
double Nanoseconds(std::span<const Run> runs, int64_t channels, int64_t states) {
  constexpr double kNanosecondsPerState = 0.3;
  int64_t rows = 0;
  for (const Run& run : runs) rows += run.length;
  return kNanosecondsPerState * rows * channels * states;
}

// Returns how many of the sequences a thread scans between two pauses, for as few channels as one
// gets. At least one.
size_t SequencesOfPiece(const Context& context, std::span<const RowRange> sequences,
                        int64_t states) {
  constexpr int64_t kFewestChannels = 64;
  size_t count = 1;
  while (count < sequences.size() &&
         (context.pauses == nullptr || Nanoseconds(sequences.first(count + 1), kFewestChannels,
                                                   states) <= context.pauses->piece)) {
    ++count;
  }
  return count;
}

// Scans the channels [begin, end) of a sequence. states[chunks,N,E] receives the states before its
// chunks, and last[N,E] the state after it.
void KeepStates(RowRange sequence, const SelectiveScanOperands& o, int64_t begin, int64_t end,
                float* states, float* last) {
  const int64_t channels = o.x.cols, count = o.b.cols;
  const auto row = [=](float* state, int64_t n) { return state + n * channels + begin; };
  for (int64_t n = 0; n < count; ++n) std::fill_n(row(states, n), end - begin, 0.0f);
  for (int64_t first = 0; first < sequence.length; first += kScanChunk) {
    const int64_t length = std::min(kScanChunk, sequence.length - first);
    float* next = first + length < sequence.length ? states + count * channels : last;
    for (int64_t n = 0; n < count; ++n) std::copy_n(row(states, n), end - begin, row(next, n));
    const ScanRun run{sequence.begin + first, length, next};
    HWY_DYNAMIC_DISPATCH(ScanChannels)({&run, 1}, o, begin, end);
    states = next;
  }
}

}  // namespace

void SelectiveScan(const Context& context, std::span<const ScanRun> runs,
                   const SelectiveScanOperands& o) {
  ParallelChannels(context, o.y.cols, Nanoseconds(runs, o.y.cols, o.b.cols),
                   [&](const Context&, int64_t begin, int64_t end) {
                     HWY_DYNAMIC_DISPATCH(ScanChannels)(runs, o, begin, end);
                   });
}

int64_t ScanChunks(std::span<const RowRange> sequences) {
  int64_t chunks = 0;
  for (const RowRange& sequence : sequences) {
    chunks += (sequence.length + kScanChunk - 1) / kScanChunk;
  }
  return chunks;
}

void SelectiveScanForTraining(const Context& context, std::span<const RowRange> sequences,
                              const SelectiveScanOperands& o, float* states) {
  const int64_t channels = o.y.cols, size = o.b.cols * channels;
  OperationScratch scratch(context);
  float* last = scratch.Get<float>(size);
  while (!sequences.empty()) {
    const auto piece = sequences.first(SequencesOfPiece(context, sequences, o.b.cols));
    ParallelChannels(context, channels, Nanoseconds(piece, channels, o.b.cols),
                     [&](const Context&, int64_t begin, int64_t end) {
                       float* kept = states;
                       for (const RowRange& sequence : piece) {
                         KeepStates(sequence, o, begin, end, kept, last);
                         kept += ScanChunks({&sequence, 1}) * size;
                       }
                     });
    states += ScanChunks(piece) * size;
    sequences = sequences.subspan(piece.size());
    if (!sequences.empty()) Pause(context);
  }
}

void SelectiveScan(const Context& context, std::span<const QuantizedScanRun> runs,
                   const QuantizedScanOperands& o) {
  const ScanScratch scratch = MakeScanScratch(o);
  ParallelChannels(context, o.y.cols, Nanoseconds(runs, o.y.cols, o.b.codes.cols),
                   [&](const Context&, int64_t begin, int64_t end) {
                     HWY_DYNAMIC_DISPATCH(ScanQuantizedChannels)(runs, o, scratch, begin, end);
                   });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
