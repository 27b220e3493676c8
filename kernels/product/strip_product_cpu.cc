#include <type_traits>

#include "kernels/product/amx.h"
#include "kernels/product/strip_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product/strip_product_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// The sums of kRows rows and two vectors of columns stay in registers; their number hides the
// latency of the additions.
constexpr int64_t kRows = hn::MaxLanes(Floats()) >= 16 ? 8 : 4;
constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kCols = 2 * kLanes;

// Returns the offset of a line in a pair of word-major tiles.
constexpr int64_t LineOffset(int64_t line) { return line / kTile * kTileSize + line % kTile; }

// Calls each_tile(tile) before each pair of tiles.
template <typename EachTile>
HWY_INLINE void MultiplyBlock(const float* a, const float* b0, const float* b1, int64_t tiles,
                              const EachTile& each_tile, float* sums) {
  const Floats d;
  FloatVec left[kRows], right[kRows];
#pragma GCC unroll 8
  for (int64_t row = 0; row < kRows; ++row) left[row] = right[row] = hn::Zero(d);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    each_tile(tile);
#pragma GCC unroll 4
    for (int64_t word = 0; word < kTileSize; word += kTile) {
      const FloatVec b_left = hn::Load(d, b0 + word), b_right = hn::Load(d, b1 + word);
#pragma GCC unroll 8
      for (int64_t row = 0; row < kRows; ++row) {
        const FloatVec factor = hn::Set(d, a[word + row]);
        left[row] = hn::MulAdd(factor, b_left, left[row]);
        right[row] = hn::MulAdd(factor, b_right, right[row]);
      }
    }
    a += 2 * kTileSize;
    b0 += 2 * kTileSize;
    b1 += 2 * kTileSize;
  }
#pragma GCC unroll 8
  for (int64_t row = 0; row < kRows; ++row) {
    hn::Store(left[row], d, sums + row * kStrip);
    hn::Store(right[row], d, sums + row * kStrip + kLanes);
  }
}

void MultiplyStrips(const float* a, const float* b, int64_t tiles, const Ahead& ahead,
                    float* sums) {
  for (int64_t col = 0; col < kStrip; col += kCols) {
    for (int64_t row = 0; row < kStrip; row += kRows) {
      const bool first = row == 0 && col == 0;
      const auto prefetch = [&](int64_t tile) HWY_ATTR {
        if (first) ahead.Prefetch(tile);
      };
      MultiplyBlock(a + LineOffset(row), b + LineOffset(col), b + LineOffset(col + kLanes), tiles,
                    prefetch, sums + row * kStrip + col);
    }
  }
}

// c[n] = start[n] + sums[n], or sums[n] if start is null; start may be c.
void WriteRow(const float* sums, const float* start, int64_t cols, bool stream, float* c) {
  const Floats d;
  const bool aligned = reinterpret_cast<uintptr_t>(c) % (kLanes * sizeof(float)) == 0;
  ForEachVector(0, cols, [=](int64_t n, auto part) HWY_ATTR {
    FloatVec sum = part.Load(sums + n);
    if (start != nullptr) sum = hn::Add(part.Load(start + n), sum);
    if (stream && aligned && std::is_same_v<decltype(part), FullVector>) {
      hn::Stream(sum, d, c + n);
    } else {
      part.Store(sum, c + n);
    }
  });
}

void WriteRows(const float* sums, const SumsTarget& target) {
  const MatrixView<float>& c = target.c;
  for (int64_t m = 0; m < c.rows; ++m) {
    WriteRow(sums + m * kStrip, target.accumulate ? c.row(m) : target.bias, c.cols, target.stream,
             c.row(m));
  }
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(MultiplyStrips);
HWY_EXPORT(WriteRows);

void MultiplyFloats(const uint32_t* a, const uint32_t* b, int64_t tiles, const Ahead& ahead,
                    float* sums) {
  HWY_DYNAMIC_DISPATCH(MultiplyStrips)
  (reinterpret_cast<const float*>(a), reinterpret_cast<const float*>(b), tiles, ahead, sums);
}

void DoNothing() {}

constexpr double kNanosecondsPerWord = 0.02;
constexpr StripProduct kFloatProduct{WordFormat::kFloats, TileOrder::kWordMajor,
                                     kNanosecondsPerWord, MultiplyFloats,
                                     DoNothing,           DoNothing};
constexpr StripProduct kRoundedProduct{WordFormat::kRoundedFloats,
                                       TileOrder::kWordMajor,
                                       kNanosecondsPerWord,
                                       MultiplyFloats,
                                       DoNothing,
                                       DoNothing};

}  // namespace

void WriteSums(const float* sums, const SumsTarget& target) {
  HWY_DYNAMIC_DISPATCH(WriteRows)(sums, target);
}

const StripProduct& BestStripProduct(DType arithmetic) {
  if (arithmetic == DType::kF32) return kFloatProduct;
  const StripProduct* const amx = amx::PairProduct();
  return amx != nullptr ? *amx : kRoundedProduct;
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
