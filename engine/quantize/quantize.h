// Quantization of a model directory after training, from reading it to writing the quantized one.
//
// Source: Quamba, arXiv 2410.13229, and the baselines that it compares with.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_QUANTIZE_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_QUANTIZE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/progress.h"
#include "engine/models/config.h"
#include "engine/models/model.h"
#include "engine/quantize/calibration.h"
#include "engine/quantize/recipe.h"

namespace whipsnake::engine {

struct QuantizeOptions {
  Recipe recipe;
  // Where x is clipped, a quantile in (0,1]; nothing: the best of 0.9995, 0.9999, 0.99999 and 1 on
  // the held-out text, among recipes with a percentile.
  std::optional<double> percentile;
};

// One place where values are rounded, in one layer.
struct SiteReport {
  int64_t layer = 0;
  std::string site;    // "u", "x", ..., or a weight's name
  int64_t scales = 0;  // how many
  float smallest_scale = 0, largest_scale = 0;
  double clip_rate = 0;  // of the held-out values
  double snr_db = 0;
};

struct PercentileTrial {
  double percentile = 0;
  double nll = 0;  // of the held-out text, nats a token
};

// Where int8 states are clipped, as a part of the mean of the samples' largest magnitudes.
struct StateClipTrial {
  double clip = 0;
  double nll = 0;  // of the held-out text, with states in int8
};

struct QuantizationReport {
  Scheme scheme = Scheme::kQuamba;
  std::optional<double> percentile;     // that was used
  std::vector<PercentileTrial> trials;  // where it was chosen
  std::optional<double> state_clip;     // of a Mamba, that was chosen
  std::vector<StateClipTrial> state_trials;
  int64_t calibration_tokens = 0;
  std::string calibration_digest;
  int64_t float_bytes = 0;  // of all tensors, before (in fp32) and after
  int64_t quantized_bytes = 0;
  std::vector<SiteReport> sites;
  std::vector<std::string> warnings;  // sentences for people
};

// Quantizes the model in `directory` and writes `out`: config.json with quantization_config,
// model.safetensors, quantization_report.json and copies of the tokenizer's and the generation's
// files. The directory appears whole or not at all. The same input gives the same bytes.
//
// ALREADY_EXISTS if `out` is anything but absent or an empty directory; FAILED_PRECONDITION for a
// model that is quantized already; INVALID_ARGUMENT for a width without a Hadamard matrix, a
// percentile out of range, and NaN or infinity in weights or activations; RESOURCE_EXHAUSTED where
// memory or disk will not do. Computes on the environment's executor; needs the model's fp32
// weights mapped and the quantized tensors in memory.
absl::StatusOr<QuantizationReport> QuantizeModel(
    const std::string& directory, const CalibrationSet& calibration, const QuantizeOptions& options,
    const std::string& out, const ModelEnvironment& environment, const WorkProgress& progress);

// quantization_report.json.
std::string ReportJson(const QuantizationReport& report);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_QUANTIZE_H_
