#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cross_entropy/cross_entropy.h"

namespace whipsnake::kernels::reference {
namespace {

// log Σ exp, with the largest logit factored out. NaN if a logit is NaN or +infinity, or if all are
// -infinity.
double LogOfSum(const float* logits, int64_t classes) {
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t v = 0; v < classes; ++v) largest = std::fmax(largest, logits[v]);
  double sum = 0;
  for (int64_t v = 0; v < classes; ++v) sum += std::exp(logits[v] - largest);
  return largest + std::log(sum);
}

double Weight(const CrossEntropyOperands& operands, int64_t r, int64_t v, int64_t classes) {
  const double smoothing = operands.smoothing;
  return smoothing / classes + (v == operands.targets[r] ? 1 - smoothing : 0);
}

double Loss(const float* logits, int64_t classes, const CrossEntropyOperands& operands, int64_t r) {
  const double log_of_sum = LogOfSum(logits, classes);
  double loss = std::isnan(log_of_sum) ? log_of_sum : 0;
  for (int64_t v = 0; v < classes; ++v) {
    const double w = Weight(operands, r, v, classes);
    if (w > 0) loss -= w * (logits[v] - log_of_sum);
  }
  return loss;
}

}  // namespace

void CrossEntropy(MatrixView<const float> logits, const CrossEntropyOperands& operands) {
  for (int64_t r = 0; r < logits.rows; ++r) {
    const float* const row = logits.row(r);
    const bool ignored = operands.targets[r] == kIgnoredTarget;
    operands.losses[r] = ignored ? 0.0f : static_cast<float>(Loss(row, logits.cols, operands, r));
    if (operands.predictions != nullptr) {
      operands.predictions[r] =
          static_cast<int32_t>(std::max_element(row, row + logits.cols) - row);
    }
  }
}

void CrossEntropyWithGradient(MatrixView<float> logits, const float* factors,
                              const CrossEntropyOperands& operands) {
  CrossEntropy(logits, operands);
  for (int64_t r = 0; r < logits.rows; ++r) {
    float* const row = logits.row(r);
    const double log_of_sum = LogOfSum(row, logits.cols);
    for (int64_t v = 0; v < logits.cols; ++v) {
      const double p = std::exp(row[v] - log_of_sum);
      const double derivative = factors[r] * (p - Weight(operands, r, v, logits.cols));
      row[v] = operands.targets[r] == kIgnoredTarget ? 0.0f : static_cast<float>(derivative);
    }
  }
}

}  // namespace whipsnake::kernels::reference
