// Derivatives by central differences, for tests of backward passes.
#ifndef WHIPSNAKE_TESTS_KERNELS_CENTRAL_DIFFERENCE_H_
#define WHIPSNAKE_TESTS_KERNELS_CENTRAL_DIFFERENCE_H_

#include <vector>

namespace whipsnake::kernels {

// Returns the derivative of value() in each of `variables`, which value() reads. For values of
// about 1 the error is below 1e-8.
template <typename Value>
std::vector<double> CentralDifferences(std::vector<double>& variables, const Value& value) {
  constexpr double kStep = 1e-5;
  std::vector<double> derivatives;
  for (double& variable : variables) {
    const double at = variable;
    variable = at + kStep;
    const double above = value();
    variable = at - kStep;
    const double below = value();
    variable = at;
    derivatives.push_back((above - below) / (2 * kStep));
  }
  return derivatives;
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_TESTS_KERNELS_CENTRAL_DIFFERENCE_H_
