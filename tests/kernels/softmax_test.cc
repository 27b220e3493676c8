#include "kernels/softmax/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kUntouched = -7.0f;

struct Result {
  std::vector<float> weights, sums;
};

template <typename Function>
Result Weigh(const Function& function, const std::vector<float>& scores, float scale) {
  const int64_t n = scores.size(), blocks = (n + kSoftmaxBlock - 1) / kSoftmaxBlock;
  const float largest = n == 0 ? 0 : *std::max_element(scores.begin(), scores.end());
  Result result{std::vector<float>(n + 1, kUntouched), std::vector<float>(blocks + 1, kUntouched)};
  function(scores.data(), n, largest, scale, result.weights.data(), result.sums.data());
  return result;
}

constexpr auto kKernel = [](auto... arguments) { SoftmaxWeights(TestContext(), arguments...); };

TEST(SoftmaxWeights, AgreesWithTheReference) {
  Random random(1);
  for (const int64_t n : {0, 1, 3, 15, 16, 17, 300, 1023, 1024, 1025, 5000}) {
    for (const float scale : {1e-3f, 0.5f, 1.0f, 10.0f, 1e30f}) {
      std::vector<float> scores = random.Vector(n, -60, 40);
      for (int64_t i = 1; i < n; i += 7) scores[i] = kNever;
      const Result result = Weigh(kKernel, scores, scale);
      const Result want = Weigh(reference::SoftmaxWeights, scores, scale);
      for (int64_t i = 0; i <= n; ++i) {
        if (result.weights[i] == 0 && want.weights[i] < 1e-36f) continue;
        ASSERT_NEAR(result.weights[i], want.weights[i], 4e-7 * std::abs(want.weights[i]))
            << n << " " << scale << " " << i;
        if (i < n && scores[i] == kNever) {
          EXPECT_EQ(result.weights[i], 0);
        }
      }
      for (size_t j = 0; j < want.sums.size(); ++j) {
        ASSERT_NEAR(result.sums[j], want.sums[j], 2e-6 * std::abs(want.sums[j])) << n << " " << j;
      }
    }
  }
}

TEST(SoftmaxWeights, TheBestHasWeightOneAndMayBeInPlace) {
  Random random(2);
  std::vector<float> scores = random.Vector(2000, -3, 3);
  scores[1234] = 5;
  const Result result = Weigh(kKernel, scores, 2);
  EXPECT_EQ(result.weights[1234], 1.0f);
  std::vector<float> sums(2);
  SoftmaxWeights(TestContext(), scores.data(), 2000, 5, 2, scores.data(), sums.data());
  scores.push_back(kUntouched);
  EXPECT_TRUE(Identical(scores, result.weights));
}

}  // namespace
}  // namespace whipsnake::kernels
