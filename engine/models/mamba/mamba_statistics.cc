#include "engine/models/mamba/mamba_statistics.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/status.h"
#include "engine/quantize/rotation.h"
#include "kernels/hadamard/hadamard.h"

namespace whipsnake::engine {

using kernels::MatrixView;

std::string SiteName(MambaSite site) {
  switch (site) {
    case MambaSite::kInput:
      return "u";
    case MambaSite::kConvInput:
      return "x before the convolution";
    case MambaSite::kGate:
      return "z";
    case MambaSite::kX:
      return "x";
    case MambaSite::kRank:
      return "delta";
    case MambaSite::kB:
      return "B";
    case MambaSite::kC:
      return "C";
    case MambaSite::kStep:
      return "dt_proj's output";
    case MambaSite::kOutput:
      return "y";
    case MambaSite::kState:
      return "state";
    case MambaSite::kHeadInput:
      return "the head's input";
  }
  return "?";
}

void DivideByNorm(MatrixView<float> values, const std::vector<float>& norm) {
  for (int64_t r = 0; r < values.rows; ++r) {
    for (int64_t c = 0; c < values.cols; ++c) {
      values.row(r)[c] = norm[c] == 0 ? 0.0f : values.row(r)[c] / norm[c];
    }
  }
}

MambaStatistics::MambaStatistics(const MambaConfig& config, std::vector<std::vector<float>> norms,
                                 std::vector<double> alphas)
    : norms_(std::move(norms)),
      alphas_(std::move(alphas)),
      layers_(config.layers + 1),
      states_(config.state_size) {
  for (LayerStatistics& layer : layers_) {
    layer.x_percentile.assign(1, PercentileObserver(alphas_));
    layer.state.assign(states_, PercentileObserver({1.0}));
  }
}

void MambaStatistics::Observe(const kernels::Context& context, int64_t index, MambaSite site,
                              MatrixView<const float> values) {
  if (values.rows == 0) return;
  LayerStatistics& layer = layers_[index];
  ObserveRanges(layer, site, values);
  switch (site) {
    case MambaSite::kInput:
    case MambaSite::kHeadInput:
      layer.rotated_input =
          std::max(layer.rotated_input, RotatedAbsMax(context, values, &norms_[index]));
      break;
    case MambaSite::kOutput:
      layer.rotated_output =
          std::max(layer.rotated_output, RotatedAbsMax(context, values, nullptr));
      break;
    case MambaSite::kX:
    case MambaSite::kState: {
      // The percentiles are those of all of x, and of each row of the state.
      std::vector<PercentileObserver>& observers =
          site == MambaSite::kX ? layer.x_percentile : layer.state;
      const int64_t rows = values.rows / static_cast<int64_t>(observers.size());
      for (size_t i = 0; i < observers.size(); ++i) {
        scratch_.clear();
        for (int64_t r = 0; r < rows; ++r) {
          const float* row = values.row(i * rows + r);
          for (int64_t c = 0; c < values.cols; ++c) scratch_.push_back(std::abs(row[c]));
        }
        if (status_.ok()) observers[i].Observe(scratch_);
      }
      break;
    }
    default:
      break;
  }
}

void MambaStatistics::ObserveRanges(LayerStatistics& layer, MambaSite site,
                                    MatrixView<const float> values) {
  ColumnRanges state;
  const auto ranges = [&]() -> ColumnRanges& {
    switch (site) {
      case MambaSite::kInput:
      case MambaSite::kHeadInput:
        return layer.input;
      case MambaSite::kConvInput:
        return layer.conv_input;
      case MambaSite::kGate:
        return layer.gate;
      case MambaSite::kX:
        return layer.x;
      case MambaSite::kRank:
        return layer.rank;
      case MambaSite::kB:
        return layer.b;
      case MambaSite::kC:
        return layer.c;
      case MambaSite::kStep:
        return layer.step;
      case MambaSite::kOutput:
        return layer.output;
      case MambaSite::kState:
        return state;
    }
    return state;
  };
  ColumnRanges& seen = ranges();
  seen.Observe(values);
  if (!status_.ok()) return;
  for (const float absmax : seen.absmax()) {
    if (std::isfinite(absmax)) continue;
    status_ = absl::InvalidArgumentError(absl::StrCat("layer ", &layer - layers_.data(), ": ",
                                                      SiteName(site), " holds ", absmax,
                                                      ", expected finite numbers"));
    return;
  }
}

float MambaStatistics::RotatedAbsMax(const kernels::Context& context,
                                     MatrixView<const float> values,
                                     const std::vector<float>* divisor) {
  if (!kernels::HasHadamard(values.cols)) return 0.0f;
  scratch_.resize(values.rows * values.cols);
  const MatrixView<float> rotated(scratch_.data(), values.rows, values.cols);
  for (int64_t r = 0; r < values.rows; ++r) std::copy_n(values.row(r), values.cols, rotated.row(r));
  if (divisor != nullptr) DivideByNorm(rotated, *divisor);
  RotateRows(context, rotated);
  float largest = 0;
  for (const float value : scratch_) largest = std::max(largest, std::abs(value));
  return largest;
}

}  // namespace whipsnake::engine
