#include "kernels/quantized_matmul/vnni.h"

#if defined(__x86_64__)

// GCC's header initializes some variables with themselves, which causes these warnings.
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <iterator>

// The target is set per function, not for the file. Otherwise an inline function of a header,
// compiled here for AVX-512, could be the copy that the linker keeps for the whole program.
#define WHIPSNAKE_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define WHIPSNAKE_VNNI_INLINE WHIPSNAKE_VNNI __attribute__((always_inline)) inline

namespace whipsnake::kernels::vnni {
namespace {

constexpr int64_t kStep = 64;  // codes in a vector
constexpr int64_t kLine = 64;
static_assert(PackedRows::kPadding % kStep == 0);

WHIPSNAKE_VNNI_INLINE __mmask64 FirstN(int64_t count) { return ~uint64_t{0} >> (kStep - count); }

WHIPSNAKE_VNNI_INLINE __m512i PlusHalf(__m512i codes) {
  return _mm512_xor_si512(codes, _mm512_set1_epi8(-128));
}

// The same as _mm512_dpbusd_epi32, for which GCC 12 copies each running sum out of its register and
// back.
WHIPSNAKE_VNNI_INLINE void AddProducts(__m512i& sum, __m512i plus_half, __m512i codes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(plus_half), "v"(codes));
}

WHIPSNAKE_VNNI int32_t PackRow(const int8_t* x, int64_t k, void* packed) {
  auto* to = static_cast<int8_t*>(packed);
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  for (int64_t i = 0; i < k; i += kStep) {
    const __m512i codes = _mm512_maskz_loadu_epi8(FirstN(std::min(k - i, kStep)), x + i);
    _mm512_store_si512(to + i, codes);
    AddProducts(sum, ones, codes);
  }
  return static_cast<int32_t>(-128u * static_cast<uint32_t>(_mm512_reduce_add_epi32(sum)));
}

// --- Few rows of x: dot products along K ---------------------------------------------------------

constexpr int kRows = 4;  // rows of the weight in a tile

// For few rows of x that stay in the first-level cache, memory is the limit. The rows of a tile are
// then processed one after another, so that the weight is read strictly in order, which the
// hardware prefetches best.
constexpr int kMaxInOrderM = 8;
constexpr int64_t kMaxInOrderCodes = 16 << 10;

// Rows of x in a tile that processes its rows of the weight side by side, so that they share each
// load of x: as many as the registers hold.
constexpr int kMaxSideBySideM = 6;

// The sums of a tile, one vector of partial sums per element.
template <int kM>
using TileSums = __m512i[kM][kRows];

// Returns the sums of the lanes of four vectors.
WHIPSNAKE_VNNI_INLINE __m128i SumsOfLanes(const __m512i (&v)[kRows]) {
  const __m512i v01 =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  const __m512i v23 =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
  const __m512i all =
      _mm512_add_epi32(_mm512_unpacklo_epi64(v01, v23), _mm512_unpackhi_epi64(v01, v23));
  const __m256i half =
      _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

template <int kM>
WHIPSNAKE_VNNI_INLINE void StoreSums(const TileSums<kM>& tile, const int32_t* corrections,
                                     int32_t* sums) {
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
    const __m128i corrected = _mm_add_epi32(SumsOfLanes(tile[m]), _mm_set1_epi32(corrections[m]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + m * kPanel), corrected);
  }
}

// Adds the products of one vector of a row of the weight with each row of x.
template <int kM>
WHIPSNAKE_VNNI_INLINE void MultiplyVector(__m512i w, const int8_t* x, int64_t stride,
                                          __m512i (&sums)[kM]) {
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) AddProducts(sums[m], w, _mm512_load_si512(x + m * stride));
}

template <int kM>
WHIPSNAKE_VNNI void DotInOrder(const int8_t* const (&w)[kRows], const PackedRows& x,
                               int32_t* sums) {
  const int8_t* rows = x.Row<int8_t>(0);
  const int64_t stride = x.stride;
  const int64_t whole = x.k / kStep * kStep;
  TileSums<kM> tile;
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    __m512i row_sums[kM];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) row_sums[m] = _mm512_setzero_si512();
    for (int64_t k = 0; k < whole; k += kStep) {
      MultiplyVector<kM>(PlusHalf(_mm512_loadu_si512(w[r] + k)), rows + k, stride, row_sums);
    }
    if (whole < x.k) {
      const __m512i rest = _mm512_maskz_loadu_epi8(FirstN(x.k - whole), w[r] + whole);
      MultiplyVector<kM>(PlusHalf(rest), rows + whole, stride, row_sums);
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) tile[m][r] = row_sums[m];
  }
  StoreSums<kM>(tile, x.corrections, sums);
}

template <int kM>
WHIPSNAKE_VNNI_INLINE void MultiplySideBySide(const __m512i (&w)[kRows], const int8_t* x,
                                              int64_t stride, TileSums<kM>& tile) {
#pragma GCC unroll 6
  for (int m = 0; m < kM; ++m) {
    const __m512i row = _mm512_load_si512(x + m * stride);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) AddProducts(tile[m][r], w[r], row);
  }
}

// Rows that are read side by side defeat the hardware prefetcher, so each step prefetches `lines`
// cache lines from `ahead` on.
template <int kM>
WHIPSNAKE_VNNI void DotSideBySide(const int8_t* const (&w)[kRows], const PackedRows& x,
                                  const int8_t* ahead, int lines, int32_t* sums) {
  const int8_t* rows = x.Row<int8_t>(0);
  const int64_t stride = x.stride;
  const int64_t whole = x.k / kStep * kStep;
  TileSums<kM> tile;
#pragma GCC unroll 6
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) tile[m][r] = _mm512_setzero_si512();
  }
  __m512i weight[kRows];
  for (int64_t k = 0; k < whole; k += kStep) {
    for (int line = 0; line < lines; ++line, ahead += kLine) _mm_prefetch(ahead, _MM_HINT_T0);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) weight[r] = PlusHalf(_mm512_loadu_si512(w[r] + k));
    MultiplySideBySide<kM>(weight, rows + k, stride, tile);
  }
  if (whole < x.k) {
    const __mmask64 mask = FirstN(x.k - whole);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      weight[r] = PlusHalf(_mm512_maskz_loadu_epi8(mask, w[r] + whole));
    }
    MultiplySideBySide<kM>(weight, rows + whole, stride, tile);
  }
  StoreSums<kM>(tile, x.corrections, sums);
}

// The rows of the tile that starts at row n of a panel. Rows past the end repeat the last row;
// their sums are ignored.
struct TileRows {
  const int8_t* rows[kRows];

  TileRows(const int8_t* w, int64_t n, int64_t count, int64_t k) {
    for (int r = 0; r < kRows; ++r) rows[r] = w + std::min(n + r, count - 1) * k;
  }
};

void DotPanelInOrder(const PackedRows& x, const int8_t* w, int64_t count, int32_t* sums) {
  constexpr void (*kTiles[])(const int8_t* const(&)[kRows], const PackedRows&, int32_t*) = {
      DotInOrder<1>, DotInOrder<2>, DotInOrder<3>, DotInOrder<4>,
      DotInOrder<5>, DotInOrder<6>, DotInOrder<7>, DotInOrder<8>};
  static_assert(std::size(kTiles) == kMaxInOrderM);
  const auto tile = kTiles[x.m - 1];
  for (int64_t n = 0; n < count; n += kRows) tile(TileRows(w, n, count, x.k).rows, x, sums + n);
}

void DotPanelSideBySide(const PackedRows& x, const int8_t* w, int64_t count, int32_t* sums) {
  constexpr void (*kTiles[])(const int8_t* const(&)[kRows], const PackedRows&, const int8_t*, int,
                             int32_t*) = {DotSideBySide<1>, DotSideBySide<2>, DotSideBySide<3>,
                                          DotSideBySide<4>, DotSideBySide<5>, DotSideBySide<6>};
  static_assert(std::size(kTiles) == kMaxSideBySideM);
  const int64_t tiles = (x.m + kMaxSideBySideM - 1) / kMaxSideBySideM;
  // Each of the tiles along M prefetches its part of the next rows of the weight.
  const int lines = static_cast<int>((kRows + tiles - 1) / tiles);
  for (int64_t n = 0; n < count; n += kRows) {
    const TileRows tile_rows(w, n, count, x.k);
    const int8_t* ahead = w + (n + kRows) * x.k;
    for (int64_t tile = 0; tile < tiles; ++tile, ahead += x.k / kStep * lines * kLine) {
      const int64_t begin = x.m * tile / tiles;
      const int64_t end = x.m * (tile + 1) / tiles;
      kTiles[end - begin - 1](tile_rows.rows, x.Rows(begin, end - begin, sizeof(int8_t)), ahead,
                              tile < kRows ? lines : 0, sums + begin * kPanel + n);
    }
  }
}

void DotPanel(const PackedRows& x, const int8_t* w, int64_t count, int32_t* sums) {
  if (x.m <= kMaxInOrderM && x.m * x.k <= kMaxInOrderCodes) {
    DotPanelInOrder(x, w, count, sums);
  } else {
    DotPanelSideBySide(x, w, count, sums);
  }
}

// --- Many rows of x: register tiles over a packed panel ------------------------------------------

// A packed panel consists of vectors of 16 outputs by 4 codes of K: all vectors of the first 4
// codes, then all vectors of the next 4, and so on.
constexpr int64_t kOutputs = 16;
constexpr int64_t kQuad = 4;
constexpr int64_t kPackStep = 16;  // codes of K

WHIPSNAKE_VNNI_INLINE __m128i Load(const int8_t* w, __mmask16 mask) {
  return _mm_maskz_loadu_epi8(mask, w);
}

// Loads kPackStep codes of rows r, r + 4, r + 8 and r + 12.
WHIPSNAKE_VNNI_INLINE __m512i LoadEveryFourth(const int8_t* const* rows, int64_t k, int r,
                                              __mmask16 mask) {
  __m512i codes = _mm512_castsi128_si512(Load(rows[r] + k, mask));
  codes = _mm512_inserti32x4(codes, Load(rows[r + 4] + k, mask), 1);
  codes = _mm512_inserti32x4(codes, Load(rows[r + 8] + k, mask), 2);
  return PlusHalf(_mm512_inserti32x4(codes, Load(rows[r + 12] + k, mask), 3));
}

// Each 128-bit lane holds four rows of four quads of codes. The transposition turns it into four
// quads of four rows.
WHIPSNAKE_VNNI_INLINE void PackStep(const int8_t* const* rows, int64_t k, __mmask16 mask,
                                    uint8_t* to, int64_t stride) {
  const __m512i row0 = LoadEveryFourth(rows, k, 0, mask);
  const __m512i row1 = LoadEveryFourth(rows, k, 1, mask);
  const __m512i row2 = LoadEveryFourth(rows, k, 2, mask);
  const __m512i row3 = LoadEveryFourth(rows, k, 3, mask);
  const __m512i low01 = _mm512_unpacklo_epi32(row0, row1);
  const __m512i low23 = _mm512_unpacklo_epi32(row2, row3);
  const __m512i high01 = _mm512_unpackhi_epi32(row0, row1);
  const __m512i high23 = _mm512_unpackhi_epi32(row2, row3);
  _mm512_store_si512(to, _mm512_unpacklo_epi64(low01, low23));
  _mm512_store_si512(to + stride, _mm512_unpackhi_epi64(low01, low23));
  _mm512_store_si512(to + 2 * stride, _mm512_unpacklo_epi64(high01, high23));
  _mm512_store_si512(to + 3 * stride, _mm512_unpackhi_epi64(high01, high23));
}

WHIPSNAKE_VNNI_INLINE __m512i BroadcastQuad(const int8_t* codes) {
  int32_t quad;
  std::memcpy(&quad, codes, sizeof(quad));
  return _mm512_set1_epi32(quad);
}

int64_t Vectors(int64_t count) { return (count + kOutputs - 1) / kOutputs; }

template <int kM, int kVectors>
WHIPSNAKE_VNNI void MultiplyTile(const PackedRows& x, const uint8_t* panel, const int8_t* ahead,
                                 int32_t* sums) {
  const int8_t* rows = x.Row<int8_t>(0);
  const int64_t stride = x.stride;
  __m512i sum[kM][kVectors];
#pragma GCC unroll 6
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[m][v] = _mm512_set1_epi32(x.corrections[m]);
  }
  for (int64_t k = 0; k < x.k; k += kQuad, panel += kVectors * kStep) {
    if (ahead != nullptr) _mm_prefetch(ahead + k * (kLine / kQuad), _MM_HINT_T1);
    __m512i weight[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weight[v] = _mm512_load_si512(panel + v * kStep);
#pragma GCC unroll 6
    for (int m = 0; m < kM; ++m) {
      const __m512i quad = BroadcastQuad(rows + m * stride + k);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) AddProducts(sum[m][v], weight[v], quad);
    }
  }
#pragma GCC unroll 6
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_si512(sums + m * kPanel + v * kOutputs, sum[m][v]);
    }
  }
}

using TileFunction = void (*)(const PackedRows&, const uint8_t*, const int8_t*, int32_t*);

template <int kM>
constexpr TileFunction TileOf(int64_t vectors) {
  constexpr TileFunction kTiles[] = {MultiplyTile<kM, 1>, MultiplyTile<kM, 2>, MultiplyTile<kM, 3>,
                                     MultiplyTile<kM, 4>};
  return kTiles[vectors - 1];
}

}  // namespace

DotKernel Dot() { return {sizeof(int8_t), PackRow, DotPanel}; }

int64_t PanelBytes(int64_t count, int64_t k) {
  return Vectors(count) * kOutputs * ((k + kPackStep - 1) / kPackStep * kPackStep);
}

WHIPSNAKE_VNNI void PackPanel(const int8_t* w, int64_t count, int64_t k, uint8_t* panel) {
  const int64_t stride = Vectors(count) * kStep;  // bytes between quads
  for (int64_t n = 0; n < count; n += kOutputs, panel += kStep) {
    const int8_t* rows[kOutputs];
    for (int r = 0; r < kOutputs; ++r) rows[r] = w + std::min(n + r, count - 1) * k;
    uint8_t* to = panel;
    int64_t i = 0;
    for (; i + kPackStep <= k; i += kPackStep, to += stride * (kPackStep / kQuad)) {
      PackStep(rows, i, 0xffff, to, stride);
    }
    if (i < k) PackStep(rows, i, static_cast<__mmask16>((1u << (k - i)) - 1), to, stride);
  }
}

void MultiplyPanel(const PackedRows& x, const uint8_t* panel, int64_t count, const int8_t* ahead,
                   int32_t* sums) {
  static_assert(kTileM == 6);
  constexpr TileFunction (*kByRows[])(int64_t) = {TileOf<1>, TileOf<2>, TileOf<3>,
                                                  TileOf<4>, TileOf<5>, TileOf<6>};
  kByRows[x.m - 1](Vectors(count))(x, panel, ahead, sums);
}

}  // namespace whipsnake::kernels::vnni

#endif  // defined(__x86_64__)
