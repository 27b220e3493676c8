// oneDNN fails if it cannot allocate memory; products are then computed without it. This test
// replaces oneDNN's functions with ones that always fail.
#include <vector>

#include "gtest/gtest.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/onednn_matmul.h"
#include "kernels/quantized_matmul/forms.h"
#include "oneapi/dnnl/dnnl.h"
#include "tests/kernels/test_matrix.h"

namespace {
int calls = 0;
}

extern "C" {

dnnl_status_t DNNL_API dnnl_sgemm(char, char, dnnl_dim_t, dnnl_dim_t, dnnl_dim_t, float,
                                  const float*, dnnl_dim_t, const float*, dnnl_dim_t, float, float*,
                                  dnnl_dim_t) {
  ++calls;
  return dnnl_out_of_memory;
}

dnnl_status_t DNNL_API dnnl_gemm_s8s8s32(char, char, char, dnnl_dim_t, dnnl_dim_t, dnnl_dim_t,
                                         float, const int8_t*, dnnl_dim_t, int8_t, const int8_t*,
                                         dnnl_dim_t, int8_t, float, int32_t*, dnnl_dim_t,
                                         const int32_t*) {
  ++calls;
  return dnnl_out_of_memory;
}

dnnl_status_t DNNL_API dnnl_primitive_execute(const_dnnl_primitive_t, dnnl_stream_t, int,
                                              const dnnl_exec_arg_t*) {
  ++calls;
  return dnnl_out_of_memory;
}

}  // extern "C"

namespace whipsnake::kernels {
namespace {

class OneDnnFailureTest : public testing::Test {
 protected:
  void SetUp() override { calls = 0; }

  static constexpr int64_t kRows = 300, kOutputs = 290, kInputs = 70;
  Random random_{1};
};

TEST_F(OneDnnFailureTest, ProductsOfFloatsAreMadeWithoutIt) {
  const TestMatrix x(kRows, kInputs, random_, -1, 1);
  const std::vector<float> values = random_.Vector(kOutputs * kInputs, -1, 1);
  std::vector<uint16_t> rounded;
  for (const float value : values) rounded.push_back(ToBF16(value));
  const std::vector<float> bias = random_.Vector(kOutputs, -1, 1);
  const WeightView weights[] = {{values.data(), DType::kF32, kOutputs, kInputs},
                                {rounded.data(), DType::kBF16, kOutputs, kInputs}};
  for (const WeightView& w : weights) {
    const int before = calls;
    TestMatrix y(kRows, kOutputs), expected(kRows, kOutputs);
    Matmul(Context(), x.view(), w, bias.data(), y.view(), {.kind = Activation::kGelu});
    EXPECT_GT(calls, before) << "oneDNN was asked first";
    reference::Matmul(x.view(), w, bias.data(), expected.view(), {.kind = Activation::kGelu});
    for (int64_t m = 0; m < kRows; ++m) {
      for (int64_t n = 0; n < kOutputs; ++n) ASSERT_NEAR(y.at(m, n), expected.at(m, n), 1e-4);
    }
  }
}

TEST_F(OneDnnFailureTest, ProductsOfCodesAreMadeWithoutIt) {
  const TestCodes x(kRows, kInputs, random_);
  const std::vector<int8_t> weight = random_.Codes(kOutputs * kInputs);
  const std::vector<float> multiplier = random_.Vector(kOutputs, 0.001f, 0.01f);
  const WeightView w{weight.data(), DType::kI8, kOutputs, kInputs};
  const SumScaling scaling{multiplier.data(), nullptr, nullptr};
  TestMatrix y(kRows, kOutputs), expected(kRows, kOutputs);
  OneDnnQuantizedMatmul(Context(), x.view(), w, Epilogue(scaling, y.view()));
  EXPECT_GT(calls, 0) << "oneDNN was asked first";
  StreamingQuantizedMatmul(Context(), x.view(), w, Epilogue(scaling, expected.view()));
  EXPECT_TRUE(y.Identical(expected));
}

}  // namespace
}  // namespace whipsnake::kernels
