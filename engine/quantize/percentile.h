// The percentile of magnitudes that sets the scale of x.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_PERCENTILE_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_PERCENTILE_H_

#include <cstdint>
#include <span>
#include <vector>

namespace whipsnake::engine {

// The quantiles of `values` (which is reordered) at each of `alphas` in [0,1], ascending: linear
// interpolation at the place alpha · (n - 1) of the sorted values. n >= 1.
std::vector<float> Quantiles(std::span<float> values, std::span<const double> alphas);

// The running mean of a sample's quantiles: m += 0.01 · (p - m), beginning at the first sample's.
// Source: the published code of Quamba, arXiv 2410.13229.
class PercentileObserver {
 public:
  explicit PercentileObserver(std::vector<double> alphas) : alphas_(std::move(alphas)) {}

  // One sample's magnitudes, reordered.
  void Observe(std::span<float> magnitudes);

  // For alphas[i]; 0 before the first sample.
  float mean(size_t i) const { return means_.empty() ? 0.0f : static_cast<float>(means_[i]); }

 private:
  std::vector<double> alphas_;
  std::vector<double> means_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_PERCENTILE_H_
