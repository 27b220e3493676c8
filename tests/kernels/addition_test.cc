#include "kernels/addition/addition.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kWidths[] = {0, 1, 7, 16, 31, 48, 768, 1000};

TEST(AddTest, EqualsTheReference) {
  Random random(1);
  for (const int64_t rows : {0, 1, 9}) {
    for (const int64_t cols : kWidths) {
      const TestMatrix a(rows, cols, random, -1, 1), b(rows, cols, random, -1, 1);
      TestMatrix y(rows, cols), want(rows, cols);
      Add(TestContext(), a.view(), b.view(), y.view());
      reference::Add(a.view(), b.view(), want.view());
      EXPECT_TRUE(y.Identical(want)) << rows << " " << cols;
    }
  }
}

TEST(AddTest, MayWriteInPlace) {
  Random random(2);
  for (const int64_t cols : kWidths) {
    const TestMatrix a(9, cols, random, -1, 1), b(9, cols, random, -1, 1);
    TestMatrix want(9, cols), first = a, second = b;
    Add(TestContext(), a.view(), b.view(), want.view());
    Add(TestContext(), first.view(), b.view(), first.view());
    Add(TestContext(), a.view(), second.view(), second.view());
    EXPECT_TRUE(first.Identical(want)) << cols;
    EXPECT_TRUE(second.Identical(want)) << cols;
  }
}

TEST(AddTest, DoesNotDependOnTheNumberOfThreads) {
  Random random(3);
  const TestMatrix a(67, 1000, random, -1, 1), b(67, 1000, random, -1, 1);
  TestMatrix want(67, 1000);
  Add(Context(), a.view(), b.view(), want.view());
  for (const int threads : {2, 3}) {
    const CpuContext cpu(threads);
    TestMatrix y(67, 1000);
    Add(cpu.context(), a.view(), b.view(), y.view());
    EXPECT_TRUE(y.Identical(want)) << threads;
  }
}

TEST(AddTest, NotANumberAndInfinityReachTheirElementAlone) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Random random(4);
  TestMatrix a(1, 31, random, -1, 1), b(1, 31, random, -1, 1), y(1, 31);
  a.view().row(0)[3] = std::nanf("");
  b.view().row(0)[17] = -kInfinity;
  a.view().row(0)[30] = kInfinity;
  b.view().row(0)[30] = -kInfinity;
  Add(TestContext(), a.view(), b.view(), y.view());
  for (int64_t i = 0; i < 31; ++i) {
    if (i == 3 || i == 30) {
      EXPECT_TRUE(std::isnan(y.at(0, i))) << i;
    } else {
      EXPECT_EQ(y.at(0, i), a.at(0, i) + b.at(0, i)) << i;
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
