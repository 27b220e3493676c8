#include <algorithm>
#include <cmath>

#include "kernels/softmax/softmax.h"

namespace whipsnake::kernels::reference {

void SoftmaxWeights(const float* scores, int64_t n, float largest, float scale, float* weights,
                    float* sums) {
  for (int64_t begin = 0; begin < n; begin += kSoftmaxBlock) {
    double sum = 0;
    for (int64_t i = begin; i < std::min(begin + kSoftmaxBlock, n); ++i) {
      weights[i] = static_cast<float>(std::exp(double{(scores[i] - largest) * scale}));
      sum += weights[i];
    }
    sums[begin / kSoftmaxBlock] = static_cast<float>(sum);
  }
}

}  // namespace whipsnake::kernels::reference
