#include "engine/quantize/percentile.h"

#include <algorithm>

namespace whipsnake::engine {
namespace {

constexpr double kWeight = 0.01;

}  // namespace

std::vector<float> Quantiles(std::span<float> values, std::span<const double> alphas) {
  std::vector<float> quantiles;
  auto begin = values.begin();  // the values before it are not larger than those after it
  for (const double alpha : alphas) {
    const double place = alpha * static_cast<double>(values.size() - 1);
    const auto below = values.begin() + static_cast<int64_t>(place);
    std::nth_element(begin, below, values.end());
    begin = below;
    const double share = place - static_cast<double>(below - values.begin());
    const bool last = below + 1 == values.end();
    const float above = last ? *below : *std::min_element(below + 1, values.end());
    quantiles.push_back(static_cast<float>(*below + share * (double{above} - *below)));
  }
  return quantiles;
}

void PercentileObserver::Observe(std::span<float> magnitudes) {
  const std::vector<float> sample = Quantiles(magnitudes, alphas_);
  if (means_.empty()) means_.assign(sample.begin(), sample.end());
  for (size_t i = 0; i < sample.size(); ++i) means_[i] += kWeight * (sample[i] - means_[i]);
}

}  // namespace whipsnake::engine
