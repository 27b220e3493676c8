// The statistics of a Mamba's activations from calibration.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_STATISTICS_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_STATISTICS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/models/mamba/mamba_block.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/quantize/column_ranges.h"
#include "engine/quantize/percentile.h"

namespace whipsnake::engine {

// The statistics of one layer. Rotated values are those that a rotated model would have, computed
// from a pass of the original model.
struct LayerStatistics {
  ColumnRanges input;                            // u with the norm's γ [d]
  float rotated_input = 0;                       // of H (u/γ)/√d, if d has a Hadamard matrix
  ColumnRanges conv_input;                       // [E]
  ColumnRanges gate;                             // [E]
  ColumnRanges x;                                // [E]
  ColumnRanges rank;                             // [R]
  ColumnRanges b, c;                             // [N]
  ColumnRanges step;                             // [E]
  ColumnRanges output;                           // [E]
  float rotated_output = 0;                      // of H y/√E, if E has a Hadamard matrix
  std::vector<PercentileObserver> x_percentile;  // one observer, of all of x
  std::vector<PercentileObserver> state;         // one per n: the largest at the end of a sample
};

// Collects the statistics of a float Mamba; pass it to MakeMamba. One sample is one forward pass of
// one run.
class MambaStatistics : public MambaObserver {
 public:
  // norms[layer] is γ[d]; the last one is γ_f. `alphas` are the percentiles, in [0,1] and
  // ascending.
  MambaStatistics(const MambaConfig& config, std::vector<std::vector<float>> norms,
                  std::vector<double> alphas);

  void Observe(const kernels::Context& context, int64_t layer, MambaSite site,
               kernels::MatrixView<const float> values) override;

  const LayerStatistics& layer(int64_t i) const { return layers_[i]; }
  // The statistics of the head's input, in `input` and `rotated_input`.
  const LayerStatistics& head() const { return layers_.back(); }
  const std::vector<double>& alphas() const { return alphas_; }

  // INVALID_ARGUMENT, naming layer and site, if NaN or infinity was seen.
  const absl::Status& status() const { return status_; }

 private:
  void ObserveRanges(LayerStatistics& layer, MambaSite site,
                     kernels::MatrixView<const float> values);
  // The largest magnitude of H v/√n, where v are the values, divided by `divisor` unless it is
  // null. 0 if n has no Hadamard matrix.
  float RotatedAbsMax(const kernels::Context& context, kernels::MatrixView<const float> values,
                      const std::vector<float>* divisor);

  std::vector<std::vector<float>> norms_;
  std::vector<double> alphas_;
  std::vector<LayerStatistics> layers_;  // the last one is the head's
  int64_t states_ = 0;                   // N
  std::vector<float> scratch_;
  absl::Status status_;
};

// The name of a site in messages and reports: "u", "x before the convolution", ...
std::string SiteName(MambaSite site);

// Divides each row by a norm's γ, which undoes γ. Where γ is 0 the result is 0, as such a column
// has no effect.
void DivideByNorm(kernels::MatrixView<float> values, const std::vector<float>& norm);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_STATISTICS_H_
