// Post-training quantization of a model directory, from reading it to writing the quantized one.
//
// Source: Quamba, arXiv 2410.13229, and the baselines to which it is compared there.
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
  // The quantile in (0,1] at which x is clipped, for recipes with a percentile. Unset: the best of
  // 0.9995, 0.9999, 0.99999 and 1 on the held-out text.
  std::optional<double> percentile;
};

// One site in one layer where values are rounded.
struct SiteReport {
  int64_t layer = 0;   // the number of layers for the head and the embedding
  std::string site;    // "u", "x", ..., or a weight's name
  int64_t scales = 0;  // their number; 0: one per token, computed at run time
  float smallest_scale = 0, largest_scale = 0;
  double clip_rate = 0;  // fraction of the held-out values, or of the weight's
  double snr_db = 0;
};

struct PercentileTrial {
  double percentile = 0;
  double nll = 0;  // of the held-out text, in nats per token
};

// A trial of the clip of int8 states, as a multiple of the mean of the samples' largest magnitudes.
struct StateClipTrial {
  double clip = 0;
  double nll = 0;  // of the held-out text, in nats per token, with states in int8
};

struct QuantizationReport {
  Scheme scheme = Scheme::kQuamba;
  std::optional<double> percentile;     // the one that was used
  std::vector<PercentileTrial> trials;  // empty unless the percentile was chosen
  std::optional<double> state_clip;     // the one that was chosen for a Mamba
  std::vector<StateClipTrial> state_trials;
  int64_t calibration_tokens = 0;
  std::string calibration_digest;
  int64_t float_bytes = 0;      // of all tensors before, in fp32
  int64_t quantized_bytes = 0;  // of all tensors after
  std::vector<SiteReport> sites;
  std::vector<std::string> warnings;  // sentences for the user
};

// What a quantization works with. Everything must outlive the work.
struct QuantizationInputs {
  const ModelConfig& config;
  const CalibrationSet& calibration;
  const QuantizeOptions& options;
  const ModelEnvironment& environment;
  const WorkProgress& progress;
};

// Quantizes the model in `directory` and writes `out`: config.json with quantization_config,
// model.safetensors, quantization_report.json and copies of the tokenizer's and the generation's
// files. The directory is written completely or not at all. The same input gives the same bytes.
//
// Returns ALREADY_EXISTS unless `out` is absent or an empty directory; FAILED_PRECONDITION if the
// model is already quantized; INVALID_ARGUMENT for a width without a Hadamard matrix, a percentile
// out of range, or NaN or infinity in weights or activations; RESOURCE_EXHAUSTED if memory or disk
// space is too small. Computes on the environment's executor. Needs the model's fp32 weights mapped
// and the quantized tensors in memory.
absl::StatusOr<QuantizationReport> QuantizeModel(
    const std::string& directory, const CalibrationSet& calibration, const QuantizeOptions& options,
    const std::string& out, const ModelEnvironment& environment, const WorkProgress& progress);

// The contents of quantization_report.json.
std::string ReportJson(const QuantizationReport& report);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_QUANTIZE_H_
