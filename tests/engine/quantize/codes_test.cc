#include "engine/quantize/codes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::engine {
namespace {

using testing::ElementsAre;

TEST(QuantizeWeight, RowsHaveTheirOwnScales) {
  const float values[] = {127, -1, 0.5f, 2.54f, 0.01f, -2.54f};
  const QuantizedWeight rows = QuantizeWeight({values, 2, 3}, /*scale_per_row=*/true);
  EXPECT_THAT(rows.scale, ElementsAre(1.0f, testing::FloatEq(0.02f)));
  EXPECT_THAT(rows.codes, ElementsAre(127, -1, 0, 127, 0, -127));  // a half rounds to even
  const QuantizedWeight whole = QuantizeWeight({values, 2, 3}, /*scale_per_row=*/false);
  EXPECT_THAT(whole.scale, ElementsAre(1.0f));
  EXPECT_THAT(whole.codes, ElementsAre(127, -1, 0, 3, 0, -3));
}

TEST(QuantizeWeight, ZerosHaveAScaleThatCanBeDividedBy) {
  const float values[] = {0, 0};
  const QuantizedWeight quantized = QuantizeWeight({values, 1, 2}, true);
  EXPECT_GE(quantized.scale[0], 1e-6f);
  EXPECT_THAT(quantized.codes, ElementsAre(0, 0));
}

// Compares a linear layer in codes with one in floats on the numbers before rounding. Requires more
// than 30 dB, the threshold in the published code's own tests.
TEST(QuantizeWeight, ALinearLayerKeeps30Decibels) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const int64_t rows = 33, outputs = 48;
  for (const int64_t inputs : {48, 1536, 5120}) {
    std::vector<float> x(rows * inputs), weight(outputs * inputs);
    for (float& value : x) value = normal(random);
    for (float& value : weight) value = normal(random);
    for (const bool scale_per_row : {true, false}) {
      const QuantizedWeight w = QuantizeWeight({weight.data(), outputs, inputs}, scale_per_row);
      const QuantizedWeight codes = QuantizeWeight({x.data(), rows, inputs}, false);
      std::vector<float> multiplier(outputs), y(rows * outputs);
      for (int64_t n = 0; n < outputs; ++n) {
        multiplier[n] = codes.scale[0] * w.scale[scale_per_row ? n : 0];
      }
      kernels::QuantizedMatmul(kernels::Context(), {codes.codes.data(), rows, inputs},
                               {w.codes.data(), kernels::DType::kI8, outputs, inputs},
                               {multiplier.data()},
                               kernels::MatrixView<float>(y.data(), rows, outputs));
      double signal = 0, noise = 0;
      for (int64_t i = 0; i < rows * outputs; ++i) {
        double exact = 0;
        for (int64_t k = 0; k < inputs; ++k) {
          exact += double{x[i / outputs * inputs + k]} * weight[i % outputs * inputs + k];
        }
        signal += exact * exact;
        noise += std::pow(y[i] - exact, 2);
      }
      EXPECT_GT(10 * std::log10(signal / noise), 30) << inputs << " inputs";
    }
  }
}

TEST(RoundingError, CountsWhatIsClippedAndWhatIsLost) {
  RoundingError error;
  error.Add(1.25f, 0.5f);  // code 2: 0.25 is lost
  error.Add(64, 0.5f);     // code 127: 0.5 is lost
  error.Add(1, 0.5f);      // exact
  EXPECT_EQ(error.clipped, 1);
  EXPECT_EQ(error.count, 3);
  EXPECT_DOUBLE_EQ(error.noise, 0.0625 + 0.25);
  EXPECT_DOUBLE_EQ(error.signal, 1.25 * 1.25 + 64 * 64 + 1);
  EXPECT_DOUBLE_EQ(error.snr_db(), 10 * std::log10(error.signal / error.noise));
}

}  // namespace
}  // namespace whipsnake::engine
