#include "kernels/cpu/scratch.h"

#include <new>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/matmul/matmul.h"
#include "kernels/quantized_matmul/forms.h"
#include "kernels/quantized_matmul/quantized_matmul.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

TEST(ScratchTest, IsCountedForAsLongAsItLives) {
  const int64_t before = Scratch::Kept();
  {
    Scratch scratch;
    scratch.Get<float>(1000);
    EXPECT_EQ(Scratch::Kept(), before + 4000);
    scratch.Get<float>(10);
    EXPECT_EQ(Scratch::Kept(), before + 4000);
    scratch.Get<int8_t>(5000);
    EXPECT_EQ(Scratch::Kept(), before + 5000);
  }
  EXPECT_EQ(Scratch::Kept(), before);
}

TEST(ScratchTest, WithoutMemoryThrowsAndKeepsNothing) {
  const int64_t before = Scratch::Kept();
  {
    Scratch scratch;
    EXPECT_THROW(scratch.Get<float>(int64_t{1} << 58), std::bad_alloc);
    EXPECT_EQ(Scratch::Kept(), before);
    EXPECT_NE(scratch.Get<float>(10), nullptr);
  }
  EXPECT_EQ(Scratch::Kept(), before);
}

// Runs every product that a model may compute, in every form.
TEST(ScratchTest, WhatProductsKeepIsWithinTheBound) {
  constexpr int64_t kInputs = 768, kOutputs = 520;
  for (const int threads : {1, 3}) {
    for (const int64_t rows : {1, 16, 40, 700}) {
      const int64_t before = Scratch::Kept();
      {
        const CpuContext cpu(threads);
        const Context& context = cpu.context();
        Random random(1);
        const TestMatrix x(rows, kInputs, random, -1, 1);
        const TestCodes codes(rows, kInputs, random);
        TestMatrix y(rows, kOutputs), rotated(rows, kInputs);
        const std::vector<float> weight(kOutputs * kInputs, 0.5f), multiplier(kOutputs, 1.0f);
        for (const DType dtype : {DType::kF32, DType::kBF16}) {
          const WeightView w{weight.data(), dtype, kOutputs, kInputs};
          Matmul(context, x.view(), w, nullptr, y.view());
          BatchInvariantMatmul(context, x.view(), w, nullptr, y.view());
        }
        const WeightView w{weight.data(), DType::kI8, kOutputs, kInputs};
        const SumScaling scaling{multiplier.data(), nullptr, nullptr};
        QuantizedMatmul(context, codes.view(), w, scaling, y.view());
        OneDnnQuantizedMatmul(context, codes.view(), w, Epilogue(scaling, y.view()));
        StreamingQuantizedMatmul(context, codes.view(), w, Epilogue(scaling, y.view()));
        Hadamard(context, x.view(), 1, rotated.view());
        EXPECT_GT(Scratch::Kept(), before);
        EXPECT_LE(Scratch::Kept() - before, ScratchBound(rows, kInputs, threads))
            << rows << " rows, " << threads << " threads";
      }
      EXPECT_EQ(Scratch::Kept(), before);
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
