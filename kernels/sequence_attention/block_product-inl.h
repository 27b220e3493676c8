// Products of small fp32 matrices in scratch memory, for kernels that inline them.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

#ifndef WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_BLOCK_PRODUCT_H_
#define WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_BLOCK_PRODUCT_H_
namespace whipsnake::kernels {

// Which elements of a product c += a · b take part in it. The others are neither read nor, in c,
// relied upon.
enum class Triangle {
  kNone,         // all
  kLowerFactor,  // of a[M,M], those on and below the diagonal
  kUpperFactor,  // of a[M,M], those on and above the diagonal
  kUpperResult,  // of c[M,N], those on and above the diagonal; the others are unspecified
};

// c[M,N] += a[M,K] · b[K,N]. Element (m, k) of a is a[m · a_row + k · a_column], so a may be a
// transpose. N and the strides of b and c are multiples of a vector.
struct BlockProduct {
  int64_t M, N, K;
  const float* a;
  int64_t a_row, a_column;
  const float* b;
  int64_t b_stride;
  float* c;
  int64_t c_stride;
  Triangle triangle = Triangle::kNone;

  // The terms of row m are those of k in [Begin(m), End(m)).
  int64_t Begin(int64_t m) const { return triangle == Triangle::kUpperFactor ? m : 0; }
  int64_t End(int64_t m) const { return triangle == Triangle::kLowerFactor ? m + 1 : K; }
};

}  // namespace whipsnake::kernels
#endif  // WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_BLOCK_PRODUCT_H_

#if defined(WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_BLOCK_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_BLOCK_PRODUCT_INL_H_
#undef WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_BLOCK_PRODUCT_INL_H_
#else
#define WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_BLOCK_PRODUCT_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

inline constexpr int64_t kLanes = hn::MaxLanes(Floats());

// The sums of a tile stay in registers: 24 of the 32 of AVX-512, and 12 of 16 elsewhere. The rest
// hold a row of b and an element of a.
inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = kLanes >= 16 ? 4 : 2;

// sums[m] += a(m, k) · b[k] for the tile's rows m in [first, last), counted from row m0.
template <int kRows, int kVectors>
HWY_INLINE void AddTerm(const BlockProduct& p, int64_t m0, int64_t n0, int64_t k, int64_t first,
                        int64_t last, FloatVec (&sums)[kRows][kVectors]) {
  const Floats d;
  const float* a = p.a + m0 * p.a_row + k * p.a_column;
  const float* b = p.b + k * p.b_stride + n0;
  FloatVec row[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, b + v * kLanes);
#pragma GCC unroll 6
  for (int m = 0; m < kRows; ++m) {
    if (m < first || m >= last) continue;
    const FloatVec factor = hn::Set(d, a[m * p.a_row]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[m][v] = hn::MulAdd(factor, row[v], sums[m][v]);
  }
}

// Computes the tile of c that begins at (m0, n0). In a triangle the first or the last terms of a
// tile are not those of all its rows.
template <int kRows, int kVectors>
void MultiplyTile(const BlockProduct& p, int64_t m0, int64_t n0) {
  const Floats d;
  float* c = p.c + m0 * p.c_stride + n0;
  FloatVec sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[m][v] = hn::LoadU(d, c + m * p.c_stride + v * kLanes);
    }
  }
  int64_t k = p.Begin(m0);
  for (; k < p.Begin(m0 + kRows - 1); ++k) AddTerm(p, m0, n0, k, 0, k - m0 + 1, sums);
  for (; k < p.End(m0); ++k) AddTerm(p, m0, n0, k, 0, kRows, sums);
  for (; k < p.End(m0 + kRows - 1); ++k) AddTerm(p, m0, n0, k, k - m0, kRows, sums);
#pragma GCC unroll 6
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[m][v], d, c + m * p.c_stride + v * kLanes);
    }
  }
}

// Computes a tile of 1 to kTileRows rows and 1 to kTileVectors vectors.
template <int... kShape>
HWY_INLINE void MultiplyTileOf(int64_t rows, int64_t vectors, const BlockProduct& p, int64_t m0,
                               int64_t n0, std::integer_sequence<int, kShape...>) {
  constexpr void (*kByShape[])(const BlockProduct&, int64_t, int64_t) = {
      MultiplyTile<kShape / kTileVectors + 1, kShape % kTileVectors + 1>...};
  kByShape[(rows - 1) * kTileVectors + vectors - 1](p, m0, n0);
}

// Each sum is taken in the order of k, whatever M and N are.
inline void MultiplyAdd(const BlockProduct& p) {
  for (int64_t begin = 0; begin < p.N; begin += kTileVectors * kLanes) {
    const int64_t end = std::min(begin + kTileVectors * kLanes, p.N);
    for (int64_t m = 0; m < p.M; m += kTileRows) {
      const bool upper = p.triangle == Triangle::kUpperResult;
      const int64_t n = upper ? std::max(begin, m / kLanes * kLanes) : begin;
      if (n >= end) break;
      MultiplyTileOf(std::min<int64_t>(kTileRows, p.M - m), (end - n) / kLanes, p, m, n,
                     std::make_integer_sequence<int, kTileRows * kTileVectors>());
    }
  }
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
