#include "kernels/cpu/parallel.h"
#include "kernels/row_quantization/row_quantization.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_quantization/row_quantization_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/row_quantization/row_quantization-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

float QuantizeByItself(const float* x, int64_t n, int8_t* y) { return QuantizeRow(x, n, y); }
void QuantizeBy(const float* x, int64_t n, float inverse_scale, int8_t* y) {
  WriteCodes(x, n, inverse_scale, y);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(QuantizeByItself);
HWY_EXPORT(QuantizeBy);

constexpr double kNanosecondsEach = 0.1;

}  // namespace

void QuantizeRows(const Context& context, MatrixView<const float> x, MatrixView<int8_t> y,
                  float* scale) {
  ParallelRows(context, x.rows, kNanosecondsEach * x.rows * x.cols,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   scale[t] = HWY_DYNAMIC_DISPATCH(QuantizeByItself)(x.row(t), x.cols, y.row(t));
                 }
               });
}

void QuantizeRows(const Context& context, MatrixView<const float> x, float inverse_scale,
                  MatrixView<int8_t> y) {
  ParallelRows(context, x.rows, kNanosecondsEach * x.rows * x.cols,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   HWY_DYNAMIC_DISPATCH(QuantizeBy)(x.row(t), x.cols, inverse_scale, y.row(t));
                 }
               });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
