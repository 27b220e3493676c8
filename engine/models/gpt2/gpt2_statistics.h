// The statistics of a transformer's activations from calibration, and their rounding errors.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_STATISTICS_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_STATISTICS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/layers/transformer_block.h"
#include "engine/quantize/codes.h"
#include "engine/quantize/column_ranges.h"

namespace whipsnake::engine {

using TransformerPlace = std::pair<int64_t, TransformerSite>;  // a layer and a site in it

// The name of a site in messages and reports: "u of the attention", ...
std::string SiteName(TransformerSite site);

// Collects the range of each column at all sites; pass it to MakeGpt2.
class TransformerStatistics : public TransformerObserver {
 public:
  void Observe(const kernels::Context& context, int64_t layer, TransformerSite site,
               kernels::MatrixView<const float> values) override;

  // The ranges at a place, which must have been observed.
  const ColumnRanges& at(int64_t layer, TransformerSite site) const {
    return ranges_.at({layer, site});
  }
  // INVALID_ARGUMENT, naming the place, if NaN or infinity was seen, or if nothing was seen at all.
  absl::Status status() const;

 private:
  std::map<TransformerPlace, ColumnRanges> ranges_;
};

// How the values at a place are rounded to codes.
struct SiteRounding {
  std::vector<float> smoothing;  // the divisor of each column; empty: 1
  float scale = 0;               // 0: each row has its own
};

// Rounds the values that flow through a float model as the quantized model would if its own inputs
// were exact. `sites` must outlive it.
class TransformerErrors : public TransformerObserver {
 public:
  explicit TransformerErrors(const std::map<TransformerPlace, SiteRounding>* sites)
      : sites_(*sites) {}

  void Observe(const kernels::Context& context, int64_t layer, TransformerSite site,
               kernels::MatrixView<const float> values) override;

  const std::map<TransformerPlace, RoundingError>& errors() const { return errors_; }

 private:
  const std::map<TransformerPlace, SiteRounding>& sites_;
  std::map<TransformerPlace, RoundingError> errors_;
  std::vector<float> row_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_STATISTICS_H_
