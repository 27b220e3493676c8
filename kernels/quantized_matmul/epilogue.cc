#include "kernels/quantized_matmul/epilogue.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantized_matmul/epilogue.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

template <bool kBias, typename T>
void WriteRow(const int32_t* sums, const float* multiplier, const float* bias, int64_t count,
              T* y) {
  ForEachVector(0, count, [=](int64_t n, auto lanes) HWY_ATTR {
    const hn::RebindToSigned<Floats> integers;
    FloatVec value = hn::ConvertTo(Floats(), hn::LoadU(integers, sums + n));
    value = hn::Mul(value, lanes.Load(multiplier + n));
    if constexpr (kBias) value = hn::Add(value, lanes.Load(bias + n));
    if constexpr (sizeof(T) == 1) {
      lanes.StoreCodes(value, y + n);
    } else {
      lanes.Store(value, y + n);
    }
  });
}

template <typename T>
HWY_INLINE void WriteRows(const int32_t* sums, int64_t stride, const float* multiplier,
                          const float* bias, const MatrixView<T>& y) {
  for (int64_t m = 0; m < y.rows; ++m) {
    if (bias != nullptr) {
      WriteRow<true>(sums + m * stride, multiplier, bias, y.cols, y.row(m));
    } else {
      WriteRow<false>(sums + m * stride, multiplier, bias, y.cols, y.row(m));
    }
  }
}

void WriteCodes(const int32_t* sums, int64_t stride, const float* multiplier, const float* bias,
                const MatrixView<int8_t>& y) {
  WriteRows(sums, stride, multiplier, bias, y);
}

void WriteFloats(const int32_t* sums, int64_t stride, const float* multiplier, const float* bias,
                 const MatrixView<float>& y) {
  WriteRows(sums, stride, multiplier, bias, y);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(WriteCodes);
HWY_EXPORT(WriteFloats);

void Epilogue::Write(const int32_t* sums, int64_t stride, int64_t m, int64_t rows, int64_t n,
                     int64_t count) const {
  const float* multiplier = multiplier_ + n;
  const float* bias = bias_ != nullptr ? bias_ + n : nullptr;
  if (codes_.data != nullptr) {
    HWY_DYNAMIC_DISPATCH(WriteCodes)
    (sums, stride, multiplier, bias, codes_.Rows(m, rows).Columns(n, count));
  } else {
    HWY_DYNAMIC_DISPATCH(WriteFloats)
    (sums, stride, multiplier, bias, floats_.Rows(m, rows).Columns(n, count));
  }
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
