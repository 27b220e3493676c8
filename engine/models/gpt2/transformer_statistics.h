// What calibration learns of a transformer's activations, and how far rounding moves them.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_TRANSFORMER_STATISTICS_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_TRANSFORMER_STATISTICS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/layers/transformer_block.h"
#include "engine/models/mamba/mamba_statistics.h"
#include "engine/quantize/codes.h"

namespace whipsnake::engine {

using TransformerPlace = std::pair<int64_t, TransformerSite>;  // the layer, and where in it

// "u of the attention", ... for messages and reports.
std::string SiteName(TransformerSite site);

// Collects the ranges of each column everywhere; give it to MakeGpt2.
class TransformerStatistics : public TransformerObserver {
 public:
  void Observe(int64_t layer, TransformerSite site,
               kernels::MatrixView<const float> values) override;

  // Of a place that was seen.
  const ColumnRanges& at(int64_t layer, TransformerSite site) const {
    return ranges_.at({layer, site});
  }
  // INVALID_ARGUMENT naming the place where NaN or infinity was seen, or where nothing was.
  absl::Status status() const;

 private:
  std::map<TransformerPlace, ColumnRanges> ranges_;
};

// How a place's values become codes.
struct SiteRounding {
  std::vector<float> smoothing;  // of each column, by which it is divided; empty: 1
  float scale = 0;               // 0: each row has its own
};

// Rounds what flows through a float model as the quantized one would, if its own inputs were exact.
class TransformerErrors : public TransformerObserver {
 public:
  explicit TransformerErrors(const std::map<TransformerPlace, SiteRounding>* sites)
      : sites_(*sites) {}

  void Observe(int64_t layer, TransformerSite site,
               kernels::MatrixView<const float> values) override;

  const std::map<TransformerPlace, RoundingError>& errors() const { return errors_; }

 private:
  const std::map<TransformerPlace, SiteRounding>& sites_;
  std::map<TransformerPlace, RoundingError> errors_;
  std::vector<float> row_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_TRANSFORMER_STATISTICS_H_
