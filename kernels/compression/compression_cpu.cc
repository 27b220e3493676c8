// The formats that code each element by itself: fixed point and bf16.
#include <atomic>
#include <cmath>
#include <cstdint>

#include "kernels/compression/compression.h"
#include "kernels/compression/for_each_row.h"
#include "kernels/matmul/bf16_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/compression/compression_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/compression/packed_codes-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

HWY_INLINE FloatVec Clamped(FloatVec v, float low, float high) {
  return hn::Min(hn::Max(v, hn::Set(Floats(), low)), hn::Set(Floats(), high));
}

// Adding this to a number in [-129, 256] rounds it half to even and leaves the integer in the low
// bits of the sum.
constexpr float kRoundToFixedPoint = 0x1.8p23f;

// Returns the number of elements that saturate.
template <int bits>
HWY_INLINE int64_t EncodeRow(const FixedPoint& format, const float* x, int64_t columns,
                             uint8_t* codes) {
  const FloatVec scale = hn::Set(Floats(), std::ldexp(1.0f, format.fraction_bits));
  const FloatVec magic = hn::Set(Floats(), kRoundToFixedPoint);
  const float low = static_cast<float>(format.lowest());
  const float high = static_cast<float>(format.highest());
  int64_t saturated = 0;
  ForEachBlock<bits>(columns, [&](int64_t i, int64_t byte, auto block) HWY_ATTR {
    const FloatBlock<bits> values = block.Load(x + i);
    IntBlock<bits> integers;
    for (size_t v = 0; v < values.size(); ++v) {
      const FloatVec scaled = hn::Mul(values[v], scale);
      const FloatVec number = hn::IfThenElseZero(hn::Eq(scaled, scaled), scaled);
      // One more than the range on both sides, so that it is known what saturates.
      const FloatVec rounded = hn::Add(Clamped(number, low - 1, high + 1), magic);
      const FloatVec code = Clamped(rounded, kRoundToFixedPoint + low, kRoundToFixedPoint + high);
      saturated += static_cast<int64_t>(hn::CountTrue(Floats(), hn::Ne(code, rounded)));
      integers[v] = hn::BitCast(Ints(), code);
    }
    block.StoreBytes(Pack<bits>(integers), codes + byte);
  });
  return saturated;
}

template <int bits>
HWY_INLINE void DecodeRow(const FixedPoint& format, const uint8_t* codes, int64_t columns,
                          float* x) {
  const FloatVec step = hn::Set(Floats(), std::ldexp(1.0f, -format.fraction_bits));
  // (b ^ sign) - sign is the integer with the two's complement b.
  const IntVec sign = hn::Set(Ints(), -format.lowest());
  ForEachBlock<bits>(columns, [&](int64_t i, int64_t byte, auto block) HWY_ATTR {
    const IntBlock<bits> integers = Unpack<bits>(block.LoadBytes(codes + byte));
    FloatBlock<bits> values;
    for (size_t v = 0; v < values.size(); ++v) {
      const IntVec code = hn::Sub(hn::Xor(integers[v], sign), sign);
      values[v] = hn::Mul(hn::ConvertTo(Floats(), code), step);
    }
    block.Store(values, x + i);
  });
}

int64_t EncodeFixedPoint(const FixedPoint& format, const float* x, int64_t columns,
                         uint8_t* codes) {
  return format.bits == 8 ? EncodeRow<8>(format, x, columns, codes)
                          : EncodeRow<4>(format, x, columns, codes);
}

void DecodeFixedPoint(const FixedPoint& format, const uint8_t* codes, int64_t columns, float* x) {
  return format.bits == 8 ? DecodeRow<8>(format, codes, columns, x)
                          : DecodeRow<4>(format, codes, columns, x);
}

void WidenBF16(const uint16_t* codes, int64_t columns, float* x) {
  const hn::Rebind<uint16_t, Floats> halves;
  const hn::RebindToUnsigned<Floats> words;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(words));
  int64_t i = 0;
  for (; i + lanes <= columns; i += lanes) {
    const auto bits = hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(halves, codes + i)));
    hn::StoreU(hn::BitCast(Floats(), bits), Floats(), x + i);
  }
  for (; i < columns; ++i) x[i] = FromBF16(codes[i]);
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(EncodeFixedPoint);
HWY_EXPORT(DecodeFixedPoint);
HWY_EXPORT(WidenBF16);

}  // namespace

int64_t Encode(const Context& context, const FixedPoint& format, MatrixView<const float> x,
               uint8_t* codes) {
  const int64_t row_bytes = EncodedBytes(format, 1, x.cols);
  std::atomic<int64_t> saturated = 0;
  ForEachRow(context, x, [&](int64_t t) {
    saturated +=
        HWY_DYNAMIC_DISPATCH(EncodeFixedPoint)(format, x.row(t), x.cols, codes + t * row_bytes);
  });
  return saturated;
}

void Decode(const Context& context, const FixedPoint& format, const uint8_t* codes,
            MatrixView<float> x) {
  const int64_t row_bytes = EncodedBytes(format, 1, x.cols);
  ForEachRow(context, x, [&](int64_t t) {
    HWY_DYNAMIC_DISPATCH(DecodeFixedPoint)(format, codes + t * row_bytes, x.cols, x.row(t));
  });
}

void EncodeBF16(const Context& context, MatrixView<const float> x, uint16_t* codes) {
  ForEachRow(context, x, [&](int64_t t) { RoundToBF16(x.row(t), x.cols, codes + t * x.cols); });
}

void DecodeBF16(const Context& context, const uint16_t* codes, MatrixView<float> x) {
  ForEachRow(context, x, [&](int64_t t) {
    HWY_DYNAMIC_DISPATCH(WidenBF16)(codes + t * x.cols, x.cols, x.row(t));
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
