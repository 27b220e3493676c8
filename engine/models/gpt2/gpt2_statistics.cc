#include "engine/models/gpt2/gpt2_statistics.h"

#include <algorithm>
#include <cmath>

#include "engine/base/status.h"

namespace whipsnake::engine {

using kernels::MatrixView;

std::string SiteName(TransformerSite site) {
  switch (site) {
    case TransformerSite::kAttentionInput:
      return "u of the attention";
    case TransformerSite::kAttentionOutput:
      return "y";
    case TransformerSite::kFeedForwardInput:
      return "u of the feed-forward";
    case TransformerSite::kActivationInput:
      return "the activation's input";
    case TransformerSite::kActivation:
      return "the activation";
    case TransformerSite::kHeadInput:
      return "the head's input";
  }
  return "?";
}

void TransformerStatistics::Observe(const kernels::Context& /*context*/, int64_t layer,
                                    TransformerSite site, MatrixView<const float> values) {
  ranges_[{layer, site}].Observe(values);
}

absl::Status TransformerStatistics::status() const {
  if (ranges_.empty()) return absl::InvalidArgumentError("calibration: no tokens seen");
  for (const auto& [place, ranges] : ranges_) {
    for (const float absmax : ranges.absmax()) {
      if (std::isfinite(absmax)) continue;
      return absl::InvalidArgumentError(absl::StrCat("layer ", place.first, ", ",
                                                     SiteName(place.second), ": ", absmax,
                                                     " seen, expected finite activations"));
    }
  }
  return absl::OkStatus();
}

void TransformerErrors::Observe(const kernels::Context& /*context*/, int64_t layer,
                                TransformerSite site, MatrixView<const float> values) {
  const auto found = sites_.find({layer, site});
  if (found == sites_.end()) return;
  const SiteRounding& rounding = found->second;
  RoundingError& error = errors_[found->first];
  for (int64_t t = 0; t < values.rows; ++t) {
    row_.assign(values.row(t), values.row(t) + values.cols);
    float largest = 0;
    for (size_t i = 0; i < row_.size(); ++i) {
      if (!rounding.smoothing.empty()) row_[i] /= rounding.smoothing[i];
      largest = std::max(largest, std::abs(row_[i]));
    }
    const float scale = rounding.scale > 0 ? rounding.scale : ScaleOf(largest);
    for (const float value : row_) error.Add(value, scale);
  }
}

}  // namespace whipsnake::engine
