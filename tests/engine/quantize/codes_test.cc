#include "engine/quantize/codes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace whipsnake::engine {
namespace {

using testing::ElementsAre;

TEST(QuantizeWeight, RowsHaveTheirOwnScales) {
  const float values[] = {127, -1, 0.5f, 2.54f, 0.01f, -2.54f};
  const QuantizedWeight rows = QuantizeWeight({values, 2, 3}, /*scale_per_row=*/true);
  EXPECT_THAT(rows.scale, ElementsAre(1.0f, testing::FloatEq(0.02f)));
  EXPECT_THAT(rows.codes, ElementsAre(127, -1, 0, 127, 0, -127));  // a half goes to the even code
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

TEST(RoundingError, CountsWhatIsClippedAndWhatIsLost) {
  RoundingError error;
  error.Add(1.25f, 0.5f);  // code 2: a quarter is lost
  error.Add(64, 0.5f);     // code 127: half of one is lost
  error.Add(1, 0.5f);      // exact
  EXPECT_EQ(error.clipped, 1);
  EXPECT_EQ(error.count, 3);
  EXPECT_DOUBLE_EQ(error.noise, 0.0625 + 0.25);
  EXPECT_DOUBLE_EQ(error.signal, 1.25 * 1.25 + 64 * 64 + 1);
  EXPECT_DOUBLE_EQ(error.snr_db(), 10 * std::log10(error.signal / error.noise));
}

}  // namespace
}  // namespace whipsnake::engine
