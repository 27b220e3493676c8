// What the quantizations of all architectures have in common.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/files.h"
#include "engine/models/model.h"
#include "engine/quantize/codes.h"
#include "engine/quantize/quantize.h"

namespace whipsnake::engine {

// A stage of the work, as a part of the whole.
struct Stage {
  const WorkProgress& progress;
  std::string_view what;
  double begin, end;

  absl::Status operator()(double fraction) const {
    return progress(what, begin + (end - begin) * fraction);
  }
  // The i-th of `count` equal parts.
  Stage Part(size_t i, size_t count) const {
    const double step = (end - begin) / count;
    return {progress, what, begin + i * step, begin + (i + 1) * step};
  }
};

// What quantization made: tensors, and how far each weight's rounding moved it.
struct QuantizedTensors {
  std::vector<OwnedTensor> tensors;
  std::map<std::string, RoundingError> errors;  // by the weight's name

  // A weight's codes and scales; `shape` begins with the rows.
  void AddWeight(const std::string& name, std::vector<int64_t> shape, std::span<const float> values,
                 bool scale_per_row);
  void AddFloats(const std::string& name, std::vector<int64_t> shape,
                 std::span<const float> values);
  // An embedding or a head [rows,cols]: codes with a scale for each row, or bf16.
  void AddTable(const std::string& name, std::vector<int64_t> shape, std::span<const float> values,
                int64_t bits);
};

// The tensor `name` in fp32; INVALID_ARGUMENT naming it where a number is not finite.
absl::StatusOr<std::vector<float>> ReadFinite(const Checkpoint& checkpoint, const std::string& name,
                                              std::vector<int64_t> shape);

// SmoothQuant's factor of each input, by which it is divided and the weight's column multiplied:
// max|x_j|^α / max|W_j|^(1-α), α = 1/2 (arXiv 2211.10438, equation 4). absmax[K], weight[N,K].
std::vector<float> SmoothingOf(const std::vector<float>& absmax,
                               kernels::MatrixView<const float> weight);
void ScaleColumns(kernels::MatrixView<float> weight, const std::vector<float>& factors);
// The largest magnitude of what has been divided by the factors.
float SmoothedAbsMax(const std::vector<float>& absmax, const std::vector<float>& smoothing);

// INVALID_ARGUMENT for a token that the model does not know.
absl::Status CheckTokens(const CalibrationSet& calibration, int64_t vocab_size);

// One forward pass for each sample.
absl::Status Feed(Model& model, const Samples& samples, const Stage& stage);
// A few, which tell enough of errors.
Samples SomeOf(const Samples& samples);

SiteReport MakeSiteReport(int64_t layer, std::string site, std::span<const float> scale,
                          const RoundingError& error);
// Of the weights; layers' names begin with `layer_prefix` and a number.
void AppendWeightReports(const QuantizedTensors& quantized, std::string_view layer_prefix,
                         int64_t layers, QuantizationReport& report);

// Writes the directory and commits it: config.json, the report, the tensors and what quantization
// leaves as it is of `directory`. Sets the report's bytes.
absl::Status WriteQuantized(const std::string& directory, const std::string& config_json,
                            const QuantizedTensors& quantized, const WorkProgress& progress,
                            QuantizationReport& report, AtomicDirectory& made);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_
