// Functions that the quantizations of all architectures share.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/atomic_file.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/model.h"
#include "engine/quantize/codes.h"
#include "engine/quantize/quantize.h"

namespace whipsnake::engine {

// A stage of the work: reports its progress as a part [begin, end] of the whole.
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

// The results of quantization: tensors and the rounding errors of the weights.
struct QuantizedTensors {
  std::vector<OwnedTensor> tensors;
  std::map<std::string, RoundingError> errors;  // by the weight's name

  // Adds a weight's codes and scales. `shape` begins with the number of rows.
  void AddWeight(const std::string& name, std::vector<int64_t> shape, std::span<const float> values,
                 bool scale_per_row);
  void AddFloats(const std::string& name, std::vector<int64_t> shape,
                 std::span<const float> values);
  // Adds an embedding or a head [rows,cols]: as codes with one scale per row if `bits` is 8, else
  // in bf16.
  void AddTable(const std::string& name, std::vector<int64_t> shape, std::span<const float> values,
                int64_t bits);
};

// Reads the tensor `name` as fp32. Returns INVALID_ARGUMENT, naming the tensor, if a value is not
// finite.
absl::StatusOr<std::vector<float>> ReadFinite(const Checkpoint& checkpoint, const std::string& name,
                                              std::vector<int64_t> shape);

// SmoothQuant's factors: an input is divided by its factor, and the weight's column is multiplied
// by it. max|x_j|^α / max|W_j|^(1-α), α = 1/2 (arXiv 2211.10438, equation 4). absmax[K],
// weight[N,K].
std::vector<float> SmoothingOf(const std::vector<float>& absmax,
                               kernels::MatrixView<const float> weight);
void ScaleColumns(kernels::MatrixView<float> weight, const std::vector<float>& factors);
// The largest magnitude of the inputs after their division by the factors.
float SmoothedAbsMax(const std::vector<float>& absmax, const std::vector<float>& smoothing);

// Returns INVALID_ARGUMENT for a token outside of [0, vocab_size).
absl::Status CheckTokens(const CalibrationSet& calibration, int64_t vocab_size);

// Runs one forward pass per sample. Samples are cut at the model's positions.
absl::Status Feed(Model& model, const Samples& samples, const Stage& stage);
// The first few samples, which are enough to measure errors.
Samples SomeOf(const Samples& samples);

SiteReport MakeSiteReport(int64_t layer, std::string site, std::span<const float> scale,
                          const RoundingError& error);
// Appends the reports of the weights. The names of a layer's weights begin with `layer_prefix` and
// its number; all other weights are reported for layer `layers`.
void AppendWeightReports(const QuantizedTensors& quantized, std::string_view layer_prefix,
                         int64_t layers, QuantizationReport& report);

// Writes the directory and commits it: config.json, the report, the tensors, and copies of the
// tokenizer's and the generation's files in `directory`. Adds the tensors' bytes to
// report.quantized_bytes.
absl::Status WriteQuantized(const std::string& directory, const std::string& config_json,
                            const QuantizedTensors& quantized, const WorkProgress& progress,
                            QuantizationReport& report, AtomicDirectory& made);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_
