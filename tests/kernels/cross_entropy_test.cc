#include "kernels/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kClasses[] = {1, 7, 16, 31, 48, 768, 1000, 1024, 1025, 5003};
constexpr float kSmoothings[] = {0, 0.1f, 0.9f};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Result {
  std::vector<float> losses;
  std::vector<int32_t> predictions;

  explicit Result(int64_t rows) : losses(rows, -1), predictions(rows, -1) {}
  CrossEntropyOperands operands(const std::vector<int32_t>& targets, float smoothing) {
    return {targets, smoothing, losses.data(), predictions.data()};
  }
};

std::vector<int32_t> RandomTargets(int64_t rows, int64_t classes, Random& random) {
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < rows; ++r) targets.push_back(random.Integer(0, classes - 1));
  return targets;
}

double LargestMagnitude(const float* row, int64_t classes) {
  double largest = 0;
  for (int64_t v = 0; v < classes; ++v) largest = std::max(largest, std::abs(double{row[v]}));
  return largest;
}

// Both the loss alone and the loss with the gradient agree with the reference.
void ExpectAgrees(const TestMatrix& logits, const std::vector<int32_t>& targets, float smoothing,
                  Random& random) {
  const int64_t rows = logits.view().rows, classes = logits.view().cols;
  const std::vector<float> factors = random.Vector(rows, -2, 2);
  Result result(rows), with_gradient(rows), want(rows);
  TestMatrix gradient = logits, want_gradient = logits;
  CrossEntropy(TestContext(), logits.view(), result.operands(targets, smoothing));
  CrossEntropyWithGradient(TestContext(), gradient.view(), factors.data(),
                           with_gradient.operands(targets, smoothing));
  reference::CrossEntropyWithGradient(want_gradient.view(), factors.data(),
                                      want.operands(targets, smoothing));
  EXPECT_TRUE(Identical(result.losses, with_gradient.losses));
  EXPECT_EQ(result.predictions, want.predictions);
  EXPECT_EQ(with_gradient.predictions, want.predictions);
  EXPECT_TRUE(gradient.GapsIntact());
  for (int64_t r = 0; r < rows; ++r) {
    const double magnitude = LargestMagnitude(logits.view().row(r), classes);
    ASSERT_NEAR(result.losses[r], want.losses[r], 1e-6 * (1 + want.losses[r] + magnitude));
    for (int64_t v = 0; v < classes; ++v) {
      ASSERT_NEAR(gradient.at(r, v), want_gradient.at(r, v), 1e-6 + 1e-7 * magnitude)
          << r << " " << v;
    }
  }
}

TEST(CrossEntropyTest, AgreesWithTheReference) {
  Random random(1);
  for (const int64_t classes : kClasses) {
    for (const float smoothing : kSmoothings) {
      for (const float range : {0.01f, 10.0f, 80.0f, 1e4f}) {
        SCOPED_TRACE(testing::Message() << classes << " " << smoothing << " " << range);
        const TestMatrix logits(5, classes, random, -range, range);
        ExpectAgrees(logits, RandomTargets(5, classes, random), smoothing, random);
      }
    }
  }
}

TEST(CrossEntropyTest, TheReferenceGradientIsTheDerivativeOfItsLoss) {
  Random random(2);
  for (const int64_t classes : {1, 2, 7, 20}) {
    for (const float smoothing : kSmoothings) {
      const TestMatrix logits(3, classes, random, -2, 2);
      const std::vector<int32_t> targets = RandomTargets(3, classes, random);
      const std::vector<float> factors = random.Vector(3, -2, 2);
      TestMatrix gradient = logits;
      Result result(3);
      reference::CrossEntropyWithGradient(gradient.view(), factors.data(),
                                          result.operands(targets, smoothing));
      // The formula of the header, in fp64.
      const auto loss = [&](int64_t r, int64_t moved, double step) {
        const auto logit = [&](int64_t v) { return logits.at(r, v) + (v == moved ? step : 0); };
        double sum = 0, value = 0;
        for (int64_t v = 0; v < classes; ++v) sum += std::exp(logit(v));
        for (int64_t v = 0; v < classes; ++v) {
          const double w = (v == targets[r] ? 1 - double{smoothing} : 0) + smoothing / classes;
          value -= w * (logit(v) - std::log(sum));
        }
        return value;
      };
      for (int64_t r = 0; r < 3; ++r) {
        EXPECT_NEAR(result.losses[r], loss(r, 0, 0), 1e-6);
        for (int64_t v = 0; v < classes; ++v) {
          constexpr double kStep = 1e-5;
          const double slope = (loss(r, v, kStep) - loss(r, v, -kStep)) / (2 * kStep);
          EXPECT_NEAR(gradient.at(r, v), factors[r] * slope, 1e-6);
        }
      }
    }
  }
}

TEST(CrossEntropyTest, TheGradientOfARowSumsToZero) {
  Random random(3);
  for (const float smoothing : kSmoothings) {
    TestMatrix logits(4, 1000, random, -5, 5);
    Result result(4);
    const std::vector<float> factors(4, 1.0f);
    CrossEntropyWithGradient(TestContext(), logits.view(), factors.data(),
                             result.operands(RandomTargets(4, 1000, random), smoothing));
    for (int64_t r = 0; r < 4; ++r) {
      double sum = 0;
      for (int64_t v = 0; v < 1000; ++v) sum += logits.at(r, v);
      EXPECT_NEAR(sum, 0, 1e-6);
    }
  }
}

TEST(CrossEntropyTest, AnIgnoredRowIsZero) {
  Random random(4);
  TestMatrix logits(3, 100, random, -5, 5);
  logits.view().row(1)[5] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<int32_t> targets = {3, kIgnoredTarget, 99};
  const std::vector<float> factors(3, 1.0f);
  Result result(3), with_gradient(3);
  CrossEntropy(TestContext(), logits.view(), result.operands(targets, 0.1f));
  CrossEntropyWithGradient(TestContext(), logits.view(), factors.data(),
                           with_gradient.operands(targets, 0.1f));
  EXPECT_GT(result.losses[0], 0);
  EXPECT_EQ(result.losses[1], 0);
  EXPECT_GT(result.losses[2], 0);
  EXPECT_TRUE(Identical(result.losses, with_gradient.losses));
  for (int64_t v = 0; v < 100; ++v) {
    EXPECT_EQ(logits.at(1, v), 0);
    EXPECT_NE(logits.at(0, v), 0);
  }
}

// Where each class with the largest logit has an equal one after it, the first is predicted.
TEST(CrossEntropyTest, PredictsTheFirstOfTheLargest) {
  for (const int64_t classes : kClasses) {
    for (const int64_t best : {int64_t{0}, classes / 2, classes - 1}) {
      TestMatrix logits(1, classes);
      std::fill_n(logits.view().row(0), classes, -3.0f);
      logits.view().row(0)[best] = logits.view().row(0)[classes - 1] = 2;
      Result result(1);
      CrossEntropy(TestContext(), logits.view(), result.operands({0}, 0));
      EXPECT_EQ(result.predictions[0], best) << classes;
    }
  }
}

TEST(CrossEntropyTest, NotANumberAndInfinityMakeTheirRowNotANumber) {
  Random random(5);
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    for (const int64_t classes : kClasses) {
      for (const int64_t at : {int64_t{0}, classes / 2, classes - 1}) {
        TestMatrix logits(3, classes, random, -5, 5);
        logits.view().row(1)[at] = value;
        const std::vector<int32_t> targets(3, 0);
        const std::vector<float> factors(3, 1.0f);
        Result result(3);
        CrossEntropyWithGradient(TestContext(), logits.view(), factors.data(),
                                 result.operands(targets, 0));
        EXPECT_TRUE(std::isfinite(result.losses[0]) && std::isfinite(result.losses[2]));
        EXPECT_TRUE(std::isnan(result.losses[1])) << classes << " " << at;
        for (int64_t v = 0; v < classes; ++v) {
          EXPECT_TRUE(std::isnan(logits.at(1, v)));
          EXPECT_TRUE(std::isfinite(logits.at(0, v)) && std::isfinite(logits.at(2, v)));
        }
      }
    }
  }
}

TEST(CrossEntropyTest, MinusInfinityIsAClassThatCannotBe) {
  Random random(6);
  TestMatrix logits(1, 100, random, -5, 5), without(1, 99);
  logits.view().row(0)[99] = -kInfinity;
  std::copy_n(logits.view().row(0), 99, without.view().row(0));
  const std::vector<int32_t> targets = {7}, impossible = {99};
  const float factor = 1;
  Result result(1), want(1), infinite(1), smoothed(1);
  CrossEntropy(TestContext(), logits.view(), infinite.operands(impossible, 0));
  EXPECT_EQ(infinite.losses[0], kInfinity);
  CrossEntropy(TestContext(), logits.view(), smoothed.operands(targets, 0.1f));
  EXPECT_EQ(smoothed.losses[0], kInfinity);
  CrossEntropyWithGradient(TestContext(), logits.view(), &factor, result.operands(targets, 0));
  CrossEntropyWithGradient(TestContext(), without.view(), &factor, want.operands(targets, 0));
  EXPECT_NEAR(result.losses[0], want.losses[0], 1e-6);
  EXPECT_EQ(logits.at(0, 99), 0);
  for (int64_t v = 0; v < 99; ++v) EXPECT_NEAR(logits.at(0, v), without.at(0, v), 1e-7);
}

TEST(CrossEntropyTest, TheBitsDoNotDependOnTheNumberOfThreads) {
  Random random(7);
  const TestMatrix logits(13, 3001, random, -9, 9);
  const std::vector<int32_t> targets = RandomTargets(13, 3001, random);
  const std::vector<float> factors = random.Vector(13, -1, 1);
  TestMatrix want = logits;
  Result want_result(13);
  CrossEntropyWithGradient(Context(), want.view(), factors.data(),
                           want_result.operands(targets, 0.1f));
  for (const int threads : {2, 3}) {
    const CpuContext cpu(threads);
    TestMatrix gradient = logits;
    Result result(13);
    CrossEntropyWithGradient(cpu.context(), gradient.view(), factors.data(),
                             result.operands(targets, 0.1f));
    EXPECT_TRUE(gradient.Identical(want));
    EXPECT_TRUE(Identical(result.losses, want_result.losses));
  }
}

TEST(CrossEntropyTest, NoRowsAreAllowed) {
  CrossEntropy(TestContext(), {nullptr, 0, 10}, {});
  CrossEntropyWithGradient(TestContext(), {nullptr, 0, 10}, nullptr, {});
}

}  // namespace
}  // namespace whipsnake::kernels
