#include "kernels/quantized_matmul/epilogue.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantized_matmul/epilogue.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// Writes part of one row. The scaling's pointers point to the part's first output and to the row's
// scale.
template <Activation kKind, typename T>
HWY_INLINE void WriteRow(const int32_t* sums, const SumScaling& scaling, int64_t count, T* y) {
  const Floats d;
  const bool has_row_scale = scaling.row_scale != nullptr, has_bias = scaling.bias != nullptr;
  const FloatVec row_scale = hn::Set(d, has_row_scale ? *scaling.row_scale : 1.0f);
  const FloatVec epsilon = hn::Set(d, scaling.f.epsilon);
  const FloatVec inverse_scale = hn::Set(d, scaling.inverse_scale);
  ForEachVector(0, count, [&](int64_t n, auto lanes) HWY_ATTR {
    const hn::RebindToSigned<Floats> integers;
    FloatVec value = hn::ConvertTo(d, hn::LoadU(integers, sums + n));
    value = hn::Mul(value, lanes.Load(scaling.multiplier + n));
    if (has_row_scale) value = hn::Mul(value, row_scale);
    if (has_bias) value = hn::Add(value, lanes.Load(scaling.bias + n));
    value = ApplyActivation<kKind>(d, value, epsilon);
    if constexpr (sizeof(T) == 1) {
      lanes.StoreCodes(hn::Mul(value, inverse_scale), y + n);
    } else {
      lanes.Store(value, y + n);
    }
  });
}

template <typename T>
HWY_INLINE void WriteRows(const int32_t* sums, int64_t stride, SumScaling scaling,
                          const MatrixView<T>& y) {
  WithActivation(scaling.f.kind, [&](auto kind) HWY_ATTR {
    for (int64_t m = 0; m < y.rows; ++m) {
      WriteRow<kind()>(sums + m * stride, scaling, y.cols, y.row(m));
      if (scaling.row_scale != nullptr) ++scaling.row_scale;
    }
  });
}

void WriteCodes(const int32_t* sums, int64_t stride, const SumScaling& scaling,
                const MatrixView<int8_t>& y) {
  WriteRows(sums, stride, scaling, y);
}

void WriteFloats(const int32_t* sums, int64_t stride, const SumScaling& scaling,
                 const MatrixView<float>& y) {
  WriteRows(sums, stride, scaling, y);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(WriteCodes);
HWY_EXPORT(WriteFloats);

void Epilogue::Write(const int32_t* sums, int64_t stride, int64_t m, int64_t rows, int64_t n,
                     int64_t count) const {
  SumScaling scaling = scaling_;
  scaling.multiplier += n;
  if (scaling.bias != nullptr) scaling.bias += n;
  if (scaling.row_scale != nullptr) scaling.row_scale += m;
  if (codes_.data != nullptr) {
    HWY_DYNAMIC_DISPATCH(WriteCodes)
    (sums, stride, scaling, codes_.Rows(m, rows).Columns(n, count));
  } else {
    HWY_DYNAMIC_DISPATCH(WriteFloats)
    (sums, stride, scaling, floats_.Rows(m, rows).Columns(n, count));
  }
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
