// The format with a scale for each group.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/compression/compression.h"
#include "kernels/compression/for_each_row.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/compression/groups_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

// As an integer, the magnitude of NaN is above that of any number.
HWY_INLINE float GroupScale(const float* x, int64_t count) {
  const hn::RebindToSigned<Floats> integers;
  auto magnitudes = hn::Zero(integers);
  ForEachVector(0, count, [&](int64_t i, auto part) HWY_ATTR {
    magnitudes = hn::Max(magnitudes, hn::BitCast(integers, hn::Abs(part.Load(x + i))));
  });
  const float largest = hn::GetLane(hn::BitCast(Floats(), hn::MaxOfLanes(integers, magnitudes)));
  return std::isfinite(largest) ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
}

// A scale of 0 or NaN needs no case of its own, because StoreCodes() stores 0 for NaN and a
// saturated code for an infinity.
void EncodeRowInGroups(const float* x, int64_t columns, bool keep_signs, float* scales,
                       int8_t* codes) {
  for (int64_t begin = 0; begin < columns; begin += kGroupColumns) {
    const int64_t end = std::min(begin + kGroupColumns, columns);
    const float scale = GroupScale(x + begin, end - begin);
    scales[begin / kGroupColumns] = scale;
    ForEachVector(begin, end, [=](int64_t i, auto part) HWY_ATTR {
      const FloatVec v = part.Load(x + i);
      FloatVec code = hn::Div(v, hn::Set(Floats(), scale));
      if (keep_signs) {
        const FloatVec one = hn::Set(Floats(), 1);
        const auto is_small = hn::And(hn::Lt(hn::Abs(code), one), hn::Ne(v, hn::Zero(Floats())));
        code = hn::IfThenElse(is_small, hn::CopySign(one, v), code);
      }
      part.StoreCodes(code, codes + i);
    });
  }
}

void DecodeRowInGroups(const float* scales, const int8_t* codes, int64_t columns, float* x) {
  for (int64_t begin = 0; begin < columns; begin += kGroupColumns) {
    const FloatVec scale = hn::Set(Floats(), scales[begin / kGroupColumns]);
    ForEachVector(begin, std::min(begin + kGroupColumns, columns),
                  [=](int64_t i, auto part)
                      HWY_ATTR { part.Store(hn::Mul(part.LoadCodes(codes + i), scale), x + i); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(EncodeRowInGroups);
HWY_EXPORT(DecodeRowInGroups);

}  // namespace

void EncodeGroups(const Context& context, MatrixView<const float> x, uint8_t* bytes,
                  bool keep_signs) {
  const MatrixView<float> scales(reinterpret_cast<float*>(bytes), x.rows, GroupsOfRow(x.cols));
  const MatrixView<int8_t> codes(reinterpret_cast<int8_t*>(scales.row(x.rows)), x.rows, x.cols);
  ForEachRow(context, x, [&](int64_t t) {
    HWY_DYNAMIC_DISPATCH(EncodeRowInGroups)
    (x.row(t), x.cols, keep_signs, scales.row(t), codes.row(t));
  });
}

void DecodeGroups(const Context& context, const uint8_t* bytes, MatrixView<float> x) {
  DecodeGroupRows(context, bytes, x.rows, /*first=*/0, x);
}

void DecodeGroupRows(const Context& context, const uint8_t* bytes, int64_t rows, int64_t first,
                     MatrixView<float> x) {
  const MatrixView<const float> scales(reinterpret_cast<const float*>(bytes), rows,
                                       GroupsOfRow(x.cols));
  const MatrixView<const int8_t> codes(reinterpret_cast<const int8_t*>(scales.row(rows)), rows,
                                       x.cols);
  ForEachRow(context, x, [&](int64_t t) {
    HWY_DYNAMIC_DISPATCH(DecodeRowInGroups)
    (scales.row(first + t), codes.row(first + t), x.cols, x.row(t));
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
