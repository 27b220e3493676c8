#include "engine/finetune/report/chart_axis.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"

namespace whipsnake::engine {
namespace {

// A distance of ticks: mantissa · 10^exponent with a mantissa of 1, 2 or 5.
struct TickStep {
  int mantissa = 1;
  int exponent = 0;

  double value() const { return mantissa * std::pow(10, exponent); }
};

// The smallest step with which at most `most` fit into `span`.
TickStep RoundStep(double span, int most) {
  TickStep step{.exponent = static_cast<int>(std::floor(std::log10(span / most)))};
  for (const int mantissa : {1, 2, 5}) {
    step.mantissa = mantissa;
    if (step.value() * most >= span * (1 - 1e-9)) return step;
  }
  return {.mantissa = 1, .exponent = step.exponent + 1};
}

// The label of a tick at `value` on an axis whose largest magnitude is `largest`: with the decimals
// that `step` needs, and a power of ten where the plain number would be long.
std::string LinearLabel(double value, double largest, const TickStep& step) {
  if (std::abs(value) < step.value() / 2) return "0";
  const char* const sign = value < 0 ? "−" : "";
  const int exponent = static_cast<int>(std::floor(std::log10(largest) + 1e-9));
  if (exponent >= -3 && exponent < 6) {
    const int decimals = std::max(0, -step.exponent);
    return absl::StrCat(sign, Grouped(absl::StrFormat("%.*f", decimals, std::abs(value))));
  }
  const int decimals = std::max(0, exponent - step.exponent);
  return absl::StrFormat("%s%.*f×%s", sign, decimals, std::abs(value) / std::pow(10, exponent),
                         HumanPower(exponent));
}

// A power of ten times 1, 2 or 5 as a label.
std::string LogarithmicLabel(int mantissa, int exponent) {
  if (exponent >= -3 && exponent < 5) return HumanNumber(mantissa * std::pow(10, exponent));
  return mantissa == 1 ? HumanPower(exponent) : absl::StrCat(mantissa, "×", HumanPower(exponent));
}

}  // namespace

Axis::Axis(double low, double high, bool logarithmic)
    : low_(low), high_(high), logarithmic_(logarithmic) {}

double Axis::Position(double value) const {
  return ((logarithmic_ ? std::log10(value) : value) - low_) / (high_ - low_);
}

Axis Axis::OfSteps(int64_t last) {
  Axis axis(0, static_cast<double>(last), /*logarithmic=*/false);
  TickStep step = RoundStep(axis.high_, 5);
  if (step.exponent < 0) step = {};
  const auto distance = static_cast<int64_t>(std::llround(step.value()));
  for (int64_t i = 0; i <= last; i += distance) {
    axis.AddTick(static_cast<double>(i),
                 last < 100'000 ? HumanCount(i) : HumanMagnitude(static_cast<double>(i)));
  }
  return axis;
}

Axis Axis::Linear(double low, double high) {
  const double largest = std::max(std::abs(low), std::abs(high));
  if (largest < 1 / kLargestDrawn) return Linear(0, 1);
  if (high - low < 1e-3 * largest) {
    const double middle = low + (high - low) / 2;
    return Linear(middle - largest / 2, middle + largest / 2);
  }
  const TickStep step = RoundStep(high - low, 5);
  const auto first = std::llround(std::floor(low / step.value() + 1e-9));
  const auto last = std::llround(std::ceil(high / step.value() - 1e-9));
  Axis axis(static_cast<double>(first) * step.value(), static_cast<double>(last) * step.value(),
            /*logarithmic=*/false);
  for (auto i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * step.value();
    axis.AddTick(value, LinearLabel(value, largest, step));
  }
  return axis;
}

Axis Axis::Logarithmic(double low, double high) {
  const int first = static_cast<int>(std::floor(std::log10(low) + 1e-9));
  const int last = static_cast<int>(std::ceil(std::log10(high) - 1e-9));
  const int decades = std::max(1, last - first);
  Axis axis(first, first + decades, /*logarithmic=*/true);
  const int stride = (decades + 5) / 6;
  for (int exponent = first; exponent <= first + decades; exponent += stride) {
    axis.AddTick(std::pow(10, exponent), LogarithmicLabel(1, exponent));
    if (decades > 2 || exponent == last) continue;
    for (const int mantissa : {2, 5}) {
      axis.AddTick(mantissa * std::pow(10, exponent), LogarithmicLabel(mantissa, exponent));
    }
  }
  return axis;
}

}  // namespace whipsnake::engine
