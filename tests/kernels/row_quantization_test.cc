#include "kernels/row_quantization/row_quantization.h"

#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

TEST(QuantizeRowsTest, IsTheReferenceBitForBit) {
  Random random(1);
  for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 15}, {2, 64}, {5, 129}, {40, 3072}}) {
    TestMatrix x(rows, cols, random, -3, 3);
    std::fill_n(x.view().row(rows - 1), cols, 0.0f);
    TestCodes y(rows, cols), want(rows, cols);
    std::vector<float> scale(rows + 1, -1.0f), want_scale(rows + 1, -1.0f);
    QuantizeRows(TestContext(), x.view(), y.view(), scale.data());
    reference::QuantizeRows(x.view(), want.view(), want_scale.data());
    EXPECT_TRUE(y.Identical(want)) << rows << "x" << cols;
    EXPECT_TRUE(Identical(scale, want_scale));
    EXPECT_EQ(scale[rows - 1], 0);
    QuantizeRows(TestContext(), x.view(), 60.0f, y.view());
    reference::QuantizeRows(x.view(), 60.0f, want.view());
    EXPECT_TRUE(y.Identical(want)) << "one scale";
  }
}

TEST(QuantizeRowsTest, TheLargestHasCode127AndTheRestAreWithinHalfAStep) {
  Random random(2);
  const TestMatrix x(7, 100, random, -0.1f, 5);
  TestCodes y(7, 100);
  std::vector<float> scale(7);
  QuantizeRows(TestContext(), x.view(), y.view(), scale.data());
  for (int64_t t = 0; t < 7; ++t) {
    int largest = 0;
    for (int64_t i = 0; i < 100; ++i) {
      EXPECT_NEAR(y.at(t, i) * scale[t], x.at(t, i), 0.5001f * scale[t]);
      largest = std::max<int>(largest, y.at(t, i));
    }
    EXPECT_EQ(largest, 127);
  }
}

TEST(QuantizeRowsTest, NaNCountsAsZeroAndInfinityShows) {
  TestMatrix x(2, 20);
  for (int64_t i = 0; i < 20; ++i) x.view().row(0)[i] = x.view().row(1)[i] = 1;
  x.view().row(0)[18] = std::numeric_limits<float>::quiet_NaN();
  x.view().row(1)[3] = -std::numeric_limits<float>::infinity();
  TestCodes y(2, 20);
  float scale[2];
  QuantizeRows(TestContext(), x.view(), y.view(), scale);
  EXPECT_EQ(y.at(0, 18), 0);
  EXPECT_EQ(y.at(0, 17), 127);
  EXPECT_EQ(scale[0], 1 / 127.0f);
  EXPECT_EQ(scale[1], std::numeric_limits<float>::infinity());
  EXPECT_EQ(y.at(1, 3), 0);
}

}  // namespace
}  // namespace whipsnake::kernels
