#include "engine/finetune/regression_errors.h"

#include <algorithm>
#include <cmath>

namespace whipsnake::engine {

void RegressionErrors::Add(double output, double target) {
  ++rows_;
  const double error = output - target;
  squared_ += error * error;
  absolute_ += std::abs(error);

  const double output_deviation = output - output_mean_, target_deviation = target - target_mean_;
  output_mean_ += output_deviation / static_cast<double>(rows_);
  target_mean_ += target_deviation / static_cast<double>(rows_);
  output_squares_ += output_deviation * (output - output_mean_);
  target_squares_ += target_deviation * (target - target_mean_);
  products_ += output_deviation * (target - target_mean_);
}

std::optional<double> RegressionErrors::Correlation() const {
  const double scale = std::sqrt(output_squares_) * std::sqrt(target_squares_);
  if (!(scale > 0)) return std::nullopt;
  return std::clamp(products_ / scale, -1.0, 1.0);
}

}  // namespace whipsnake::engine
