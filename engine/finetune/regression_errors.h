// How far a regression's outputs are from their targets.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REGRESSION_ERRORS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REGRESSION_ERRORS_H_

#include <cstdint>
#include <optional>

namespace whipsnake::engine {

class RegressionErrors {
 public:
  void Add(double output, double target);

  int64_t rows() const { return rows_; }
  double MeanSquaredError() const { return rows_ == 0 ? 0 : squared_ / rows_; }
  double MeanAbsoluteError() const { return rows_ == 0 ? 0 : absolute_ / rows_; }
  // Pearson's coefficient of correlation of outputs and targets, in [-1,1]. nullopt if all outputs
  // or all targets are equal.
  std::optional<double> Correlation() const;

 private:
  int64_t rows_ = 0;
  double squared_ = 0, absolute_ = 0;  // sums of errors
  // Means, and sums of products of deviations from them. Updated row by row (Welford 1962), because
  // sums of squares would cancel where the mean is far from 0.
  double output_mean_ = 0, target_mean_ = 0;
  double output_squares_ = 0, target_squares_ = 0, products_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REGRESSION_ERRORS_H_
