#include <algorithm>
#include <bit>

#include "kernels/product/packed_operand.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product/packed_operand_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The compiler vectorizes the loops below for each target.

HWY_INLINE uint16_t Rounded(float value) { return ToBF16(value); }
HWY_INLINE uint16_t Rounded(uint16_t bits) { return bits; }

template <WordFormat kFormat, typename T>
HWY_INLINE uint32_t Word(T term) {
  if constexpr (kFormat == WordFormat::kFloats) return std::bit_cast<uint32_t>(term);
  return uint32_t{Rounded(term)} << 16;
}

// Each row of a tile holds kTile words: of a line, if the rows in memory are lines, or of a term.
template <WordFormat kFormat, typename T>
HWY_INLINE void CopyWords(const T* from, int64_t stride, uint32_t* HWY_RESTRICT tile) {
  for (int64_t row = 0; row < kTile; ++row) {
    for (int64_t i = 0; i < kTile; ++i) tile[row * kTile + i] = Word<kFormat>(from[i]);
    from += stride;
  }
}

// Pairs neighbours of a row in memory. The first of a pair has the lower address, which on x86 is
// the word's lower half.
template <typename T>
HWY_INLINE void PairAlongRows(const T* from, int64_t stride, uint32_t* HWY_RESTRICT tile) {
  auto* const halves = reinterpret_cast<uint16_t*>(tile);
  for (int64_t row = 0; row < kTile; ++row) {
    for (int64_t i = 0; i < 2 * kTile; ++i) halves[row * 2 * kTile + i] = Rounded(from[i]);
    from += stride;
  }
}

// Pairs each row in memory with the next.
template <typename T>
HWY_INLINE void PairAcrossRows(const T* from, int64_t stride, uint32_t* HWY_RESTRICT tile) {
  for (int64_t row = 0; row < kTile; ++row) {
    uint16_t low[kTile], high[kTile];
    for (int64_t i = 0; i < kTile; ++i) low[i] = Rounded(from[i]);
    for (int64_t i = 0; i < kTile; ++i) high[i] = Rounded(from[stride + i]);
    for (int64_t i = 0; i < kTile; ++i) tile[row * kTile + i] = low[i] | uint32_t{high[i]} << 16;
    from += 2 * stride;
  }
}

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void Transpose(const uint32_t* tile, uint32_t* transposed) {
  for (int64_t row = 0; row < kTile; ++row) {
    for (int64_t i = 0; i < kTile; ++i) transposed[i * kTile + row] = tile[row * kTile + i];
  }
}
#else
// Transposes blocks of 4 × 4 words.
HWY_INLINE void Transpose(const uint32_t* tile, uint32_t* transposed) {
  const hn::CappedTag<uint32_t, 4> d;
  const hn::RepartitionToWide<decltype(d)> pair;
  for (int64_t row = 0; row < kTile; row += 4) {
    for (int64_t i = 0; i < kTile; i += 4) {
      const uint32_t* const from = tile + row * kTile + i;
      const auto v0 = hn::Load(d, from), v1 = hn::Load(d, from + kTile);
      const auto v2 = hn::Load(d, from + 2 * kTile), v3 = hn::Load(d, from + 3 * kTile);
      const auto low01 = hn::BitCast(pair, hn::InterleaveLower(d, v0, v1));
      const auto low23 = hn::BitCast(pair, hn::InterleaveLower(d, v2, v3));
      const auto high01 = hn::BitCast(pair, hn::InterleaveUpper(d, v0, v1));
      const auto high23 = hn::BitCast(pair, hn::InterleaveUpper(d, v2, v3));
      uint32_t* const to = transposed + i * kTile + row;
      hn::Store(hn::BitCast(d, hn::InterleaveLower(pair, low01, low23)), d, to);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(pair, low01, low23)), d, to + kTile);
      hn::Store(hn::BitCast(d, hn::InterleaveLower(pair, high01, high23)), d, to + 2 * kTile);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(pair, high01, high23)), d, to + 3 * kTile);
    }
  }
}
#endif

// Calls fill(first, stride) with a block of the matrix in memory, completed with zeros.
template <int64_t kRows, int64_t kCols, typename T, typename Fill>
HWY_INLINE void WithBlock(MatrixView<const T> matrix, int64_t row, int64_t col, const Fill& fill) {
  const int64_t rows = std::clamp<int64_t>(matrix.rows - row, 0, kRows);
  const int64_t cols = std::clamp<int64_t>(matrix.cols - col, 0, kCols);
  if (rows == kRows && cols == kCols) return fill(matrix.row(row) + col, matrix.stride);
  T block[kRows * kCols] = {};
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(matrix.row(row + r) + col, cols, block + r * kCols);
  }
  fill(block, kCols);
}

template <WordFormat kFormat, typename T>
HWY_INLINE void PackTile(MatrixView<const T> matrix, bool rows_are_lines, int64_t line,
                         int64_t term, TileOrder order, uint32_t* tile) {
  HWY_ALIGN uint32_t untransposed[kTileSize];
  const bool transpose = rows_are_lines != (order == TileOrder::kLineMajor);
  uint32_t* const filled = transpose ? untransposed : tile;
  const int64_t row = rows_are_lines ? line : term, col = rows_are_lines ? term : line;
  if constexpr (kFormat != WordFormat::kPairs) {
    WithBlock<kTile, kTile>(matrix, row, col, [=](const T* from, int64_t stride) HWY_ATTR {
      CopyWords<kFormat>(from, stride, filled);
    });
  } else if (rows_are_lines) {
    WithBlock<kTile, 2 * kTile>(matrix, row, col, [=](const T* from, int64_t stride) HWY_ATTR {
      PairAlongRows(from, stride, filled);
    });
  } else {
    WithBlock<2 * kTile, kTile>(matrix, row, col, [=](const T* from, int64_t stride) HWY_ATTR {
      PairAcrossRows(from, stride, filled);
    });
  }
  if (transpose) Transpose(untransposed, tile);
}

template <WordFormat kFormat, typename T>
void PackWords(const OperandLines& operand, int64_t line, int64_t term, int64_t tiles,
               TileOrder order, uint32_t* words) {
  const MatrixView<const T> matrix(
      static_cast<const T*>(operand.data), operand.contiguous ? operand.lines : operand.terms,
      operand.contiguous ? operand.terms : operand.lines, operand.stride);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    for (int64_t half = 0; half < kStrip; half += kTile) {
      PackTile<kFormat>(matrix, operand.contiguous, line + half, term, order, words);
      words += kTileSize;
    }
    term += kTile * TermsOfWord(kFormat);
  }
}

void PackFloats(const OperandLines& operand, int64_t line, int64_t term, int64_t tiles,
                TileOrder order, uint32_t* words) {
  PackWords<WordFormat::kFloats, float>(operand, line, term, tiles, order, words);
}

template <WordFormat kFormat>
HWY_INLINE void PackRounded(const OperandLines& operand, int64_t line, int64_t term, int64_t tiles,
                            TileOrder order, uint32_t* words) {
  if (operand.dtype == DType::kF32) {
    PackWords<kFormat, float>(operand, line, term, tiles, order, words);
  } else {
    PackWords<kFormat, uint16_t>(operand, line, term, tiles, order, words);
  }
}
void PackRoundedFloats(const OperandLines& operand, int64_t line, int64_t term, int64_t tiles,
                       TileOrder order, uint32_t* words) {
  PackRounded<WordFormat::kRoundedFloats>(operand, line, term, tiles, order, words);
}
void PackPairs(const OperandLines& operand, int64_t line, int64_t term, int64_t tiles,
               TileOrder order, uint32_t* words) {
  PackRounded<WordFormat::kPairs>(operand, line, term, tiles, order, words);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(PackFloats);
HWY_EXPORT(PackRoundedFloats);
HWY_EXPORT(PackPairs);

void PackTiles(const OperandLines& operand, int64_t line, int64_t term, int64_t tiles,
               WordFormat format, TileOrder order, uint32_t* words) {
  switch (format) {
    case WordFormat::kFloats:
      return HWY_DYNAMIC_DISPATCH(PackFloats)(operand, line, term, tiles, order, words);
    case WordFormat::kRoundedFloats:
      return HWY_DYNAMIC_DISPATCH(PackRoundedFloats)(operand, line, term, tiles, order, words);
    case WordFormat::kPairs:
      return HWY_DYNAMIC_DISPATCH(PackPairs)(operand, line, term, tiles, order, words);
  }
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
