// The percentile of magnitudes that sets the scale of x.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_PERCENTILE_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_PERCENTILE_H_

#include <cstdint>
#include <span>
#include <vector>

namespace whipsnake::engine {

// Returns the quantiles of `values` at each of `alphas`, which must be in [0,1] and ascending, by
// linear interpolation at position alpha · (n - 1) of the sorted values. n must be at least 1.
// Reorders `values`.
std::vector<float> Quantiles(std::span<float> values, std::span<const double> alphas);

// The running mean of the samples' quantiles: m += 0.01 · (p - m), starting with the quantiles of
// the first sample. Source: the published code of Quamba, arXiv 2410.13229.
class PercentileObserver {
 public:
  explicit PercentileObserver(std::vector<double> alphas) : alphas_(std::move(alphas)) {}

  // Adds the magnitudes of one sample. Reorders them.
  void Observe(std::span<float> magnitudes);

  // The mean for alphas[i]; 0 before the first sample.
  float mean(size_t i) const { return means_.empty() ? 0.0f : static_cast<float>(means_[i]); }

 private:
  std::vector<double> alphas_;
  std::vector<double> means_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_PERCENTILE_H_
