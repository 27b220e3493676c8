// Dot products of codes without a dedicated instruction: both operands are widened to 16 bits, and
// neighbouring products are added exactly in 32 bits. (The 8-bit vpmaddubsw is twice as fast, but
// its 16-bit sums saturate.)
#include <algorithm>
#include <cstring>

#include "kernels/quantized_matmul/panel.h"

// The arrays of vectors below need a vector size that is known at compile time.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantized_matmul/widening_dot.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D16 = hn::ScalableTag<int16_t>;
using D32 = hn::ScalableTag<int32_t>;
using D8 = hn::Rebind<int8_t, D16>;  // the same number of lanes as D16
using V16 = hn::Vec<D16>;
using V32 = hn::Vec<D32>;

constexpr int64_t kStep = hn::MaxLanes(D16());
static_assert(PackedRows::kPadding % kStep == 0);

constexpr int kRows = 4;                                  // rows of the weight, side by side
constexpr int kMaxM = hn::MaxLanes(D32()) >= 16 ? 4 : 2;  // rows of x that the registers hold

int32_t PackWidened(const int8_t* x, int64_t k, void* packed) {
  auto* to = static_cast<int16_t*>(packed);
  std::copy_n(x, k, to);
  std::fill(to + k, to + (k + kStep - 1) / kStep * kStep, int16_t{0});
  return 0;
}

HWY_INLINE V16 LoadWeight(const int8_t* w) { return hn::PromoteTo(D16(), hn::LoadU(D8(), w)); }

// Reads nothing past a row, because it may be the last row of a mapped file.
HWY_INLINE V16 LoadWeightTail(const int8_t* w, int64_t count) {
  HWY_ALIGN int8_t codes[kStep] = {};
  std::memcpy(codes, w, count);
  return hn::PromoteTo(D16(), hn::Load(D8(), codes));
}

// The sums of kRows rows of the weight with kM rows of x. x86 uses only the even sums.
template <int kM>
struct Sums {
  V32 even[kRows][kM];
  V32 odd[kRows][kM];
};

template <int kM>
HWY_INLINE void MultiplyStep(const V16 (&w)[kRows], const int16_t* x, int64_t x_stride,
                             Sums<kM>& sums) {
#pragma GCC unroll 4
  for (int m = 0; m < kM; ++m) {
    const V16 row = hn::Load(D16(), x + m * x_stride);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      sums.even[r][m] =
          hn::ReorderWidenMulAccumulate(D32(), w[r], row, sums.even[r][m], sums.odd[r][m]);
    }
  }
}

template <int kM>
HWY_INLINE void DotTile(const int8_t* const (&w)[kRows], const PackedRows& x, int64_t first,
                        int32_t* sums) {
  const int16_t* rows = x.Row<int16_t>(first);
  Sums<kM> partial;
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) partial.even[r][m] = partial.odd[r][m] = hn::Zero(D32());
  }
  V16 weight[kRows];
  const int64_t whole = x.k / kStep * kStep;
  for (int64_t k = 0; k < whole; k += kStep) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) weight[r] = LoadWeight(w[r] + k);
    MultiplyStep<kM>(weight, rows + k, x.stride, partial);
  }
  if (whole < x.k) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) weight[r] = LoadWeightTail(w[r] + whole, x.k - whole);
    MultiplyStep<kM>(weight, rows + whole, x.stride, partial);
  }
#pragma GCC unroll 4
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const V32 sum = hn::SumOfLanes(D32(), hn::Add(partial.even[r][m], partial.odd[r][m]));
      sums[(first + m) * kPanel + r] = hn::GetLane(sum);
    }
  }
}

void DotWidened(const PackedRows& x, const int8_t* w, int64_t count, int32_t* sums) {
  for (int64_t n = 0; n < count; n += kRows) {
    // Rows past the end repeat the last row; their sums are ignored.
    const int8_t* rows[kRows];
    for (int r = 0; r < kRows; ++r) rows[r] = w + std::min(n + r, count - 1) * x.k;
    // Rows that are read side by side defeat the hardware prefetcher, so prefetch the next ones in
    // memory order.
    for (int64_t i = 0; i < kRows * x.k; i += 64) hwy::Prefetch(w + (n + kRows) * x.k + i);
    int64_t m = 0;
    for (; m + kMaxM <= x.m; m += kMaxM) DotTile<kMaxM>(rows, x, m, sums + n);
    for (; m < x.m; ++m) DotTile<1>(rows, x, m, sums + n);
  }
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(PackWidened);
HWY_EXPORT(DotWidened);

DotKernel WideningDot() {
  return {sizeof(int16_t), HWY_DYNAMIC_DISPATCH(PackWidened), HWY_DYNAMIC_DISPATCH(DotWidened)};
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
