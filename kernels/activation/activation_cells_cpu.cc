#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "kernels/activation/activation_cells.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation/activation_cells_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/activation/activation-inl.h"
#include "kernels/compression/packed_codes-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

// Returns integers whose low bits are the codes of x.
template <bool centered>
HWY_INLINE IntVec CellsOf(FloatVec x, FloatVec width) {
  const Floats d;
  FloatVec cell = hn::Div(x, width);
  if constexpr (!centered) cell = hn::Sub(hn::Ceil(cell), hn::Set(d, 1.0f));
  cell = hn::IfThenElseZero(hn::Eq(cell, cell), cell);
  cell = hn::Min(hn::Max(cell, hn::Set(d, -8.0f)), hn::Set(d, 7.0f));
  return hn::BitCast(Ints(), hn::Add(cell, hn::Set(d, kRoundToInteger)));
}

template <bool centered>
HWY_INLINE void EncodeCellsOf(float cell_width, const float* x, int64_t n, uint8_t* codes) {
  const FloatVec width = hn::Set(Floats(), cell_width);
  ForEachBlock<4>(n, [=](int64_t i, int64_t byte, auto block) HWY_ATTR {
    const auto [even, odd] = block.Load(x + i);
    block.StoreBytes(Pack<4>({CellsOf<centered>(even, width), CellsOf<centered>(odd, width)}),
                     codes + byte);
  });
}

void EncodeCellRange(const ActivationCells& cells, const float* x, int64_t n, uint8_t* codes) {
  return cells.centered ? EncodeCellsOf<true>(cells.width, x, n, codes)
                        : EncodeCellsOf<false>(cells.width, x, n, codes);
}

// table[cells], lane by lane. A vector of as many lanes as cells holds the whole table.
HWY_INLINE FloatVec LookUp(const float* table, IntVec cells) {
#if HWY_TARGET == HWY_AVX3
  const Floats d;
  return hn::TableLookupLanes(hn::LoadU(d, table), hn::IndicesFromVec(d, cells));
#else
  return hn::GatherIndex(Floats(), table, cells);
#endif
}

// Returns Σ g · correction.
float BackwardCellRange(const ActivationCellTable& table, const uint8_t* codes, const float* g,
                        int64_t n, float* gx) {
  FloatVec sums[2] = {hn::Zero(Floats()), hn::Zero(Floats())};
  ForEachBlock<4>(n, [&](int64_t i, int64_t byte, auto block) HWY_ATTR {
    const IntBlock<4> cells = Unpack<4>(block.LoadBytes(codes + byte));
    FloatBlock<4> gradients = block.Load(g + i);
    for (int v = 0; v < 2; ++v) {
      sums[v] = hn::MulAdd(gradients[v], LookUp(table.correction, cells[v]), sums[v]);
      gradients[v] = hn::Mul(gradients[v], LookUp(table.slope, cells[v]));
    }
    block.Store(gradients, gx + i);
  });
  return hn::GetLane(hn::SumOfLanes(Floats(), hn::Add(sums[0], sums[1])));
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(EncodeCellRange);
HWY_EXPORT(BackwardCellRange);

constexpr double kNanosecondsEach = 0.3;

// The mean of k(x) = x exp(-x²/2) over [a,b].
double MeanCorrection(double a, double b) {
  return (std::exp(-a * a / 2) - std::exp(-b * b / 2)) / (b - a);
}

}  // namespace

ActivationCellTable MakeActivationCellTable(ActivationFunction f, const ActivationCells& cells) {
  ActivationCellTable table;
  for (int q = -kActivationCells / 2; q < kActivationCells / 2; ++q) {
    const double a = q * double{cells.width}, b = (q + 1) * double{cells.width};
    const double mean = (reference::Value(f, b) - reference::Value(f, a)) / (b - a);
    const double slope = cells.centered ? reference::Slope(f, a) : mean;
    const double correction = cells.centered ? reference::Correction(a) : MeanCorrection(a, b);
    const int index = q & (kActivationCells - 1);
    table.slope[index] = static_cast<float>(slope);
    if (f.kind == Activation::kCRRelu) table.correction[index] = static_cast<float>(correction);
  }
  return table;
}

void EncodeCells(const Context& context, const ActivationCells& cells, const float* x, int64_t n,
                 uint8_t* codes) {
  // Every range but the last has an even number of elements.
  ParallelChannels(context, n, kNanosecondsEach * static_cast<double>(n),
                   [&](const Context&, int64_t begin, int64_t end) {
                     HWY_DYNAMIC_DISPATCH(EncodeCellRange)
                     (cells, x + begin, end - begin, codes + begin / 2);
                   });
}

double ActivateBackwardFromCells(const Context& context, const ActivationCellTable& table,
                                 const uint8_t* codes, const float* g, int64_t n, float* gx) {
  // Sums are taken as in ActivateBackward().
  constexpr int64_t kBlock = 512;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  OperationScratch scratch(context);
  float* const sums = scratch.Get<float>(blocks);
  ParallelRows(context, blocks, kNanosecondsEach * static_cast<double>(n),
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t block = begin; block < end; ++block) {
                   const int64_t i = block * kBlock;
                   sums[block] = HWY_DYNAMIC_DISPATCH(BackwardCellRange)(
                       table, codes + i / 2, g + i, std::min(kBlock, n - i), gx + i);
                 }
               });
  return std::accumulate(sums, sums + blocks, 0.0);
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
