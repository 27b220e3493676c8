#include "engine/quantize/job.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "engine/base/status.h"
#include "engine/checkpoint/tokenizer_files.h"
#include "engine/layers/weights.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using kernels::MatrixView;

constexpr float kSmallestWeight = 1e-5f;
constexpr double kSmoothing = 0.5;  // α: half of an outlier moves into the weights

}  // namespace

void QuantizedTensors::AddWeight(const std::string& name, std::vector<int64_t> shape,
                                 std::span<const float> values, bool scale_per_row) {
  const int64_t rows = shape.front();
  const QuantizedWeight quantized =
      QuantizeWeight({values.data(), rows, std::ssize(values) / rows}, scale_per_row);
  tensors.push_back(CodesTensor(CodesName(name), std::move(shape), quantized.codes));
  AddFloats(ScaleName(name), {std::ssize(quantized.scale)}, quantized.scale);
  errors[name] = quantized.error;
}

void QuantizedTensors::AddFloats(const std::string& name, std::vector<int64_t> shape,
                                 std::span<const float> values) {
  tensors.push_back(FloatsTensor(name, std::move(shape), values));
}

void QuantizedTensors::AddTable(const std::string& name, std::vector<int64_t> shape,
                                std::span<const float> values, int64_t bits) {
  if (bits == 8) return AddWeight(name, std::move(shape), values, /*scale_per_row=*/true);
  OwnedTensor tensor{name, kernels::DType::kBF16, std::move(shape),
                     std::vector<std::byte>(2 * values.size())};
  auto* out = reinterpret_cast<uint16_t*>(tensor.data.data());
  for (size_t i = 0; i < values.size(); ++i) out[i] = kernels::ToBF16(values[i]);
  tensors.push_back(std::move(tensor));
}

absl::StatusOr<std::vector<float>> ReadFinite(const Checkpoint& checkpoint, const std::string& name,
                                              std::vector<int64_t> shape) {
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint.Get(name, shape));
  std::vector<float> values(tensor.elements());
  ToFloat(tensor, values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": ", values[i],
                                                   " at place ", i,
                                                   " seen, expected finite numbers"));
  }
  return values;
}

std::vector<float> SmoothingOf(const std::vector<float>& absmax, MatrixView<const float> weight) {
  std::vector<float> smoothing(weight.cols, 1.0f);
  for (int64_t c = 0; c < weight.cols; ++c) {
    float largest = 0;
    for (int64_t r = 0; r < weight.rows; ++r)
      largest = std::max(largest, std::abs(weight.row(r)[c]));
    // A column of zeros takes the outlier entirely. A channel that is always 0 is left unchanged.
    const double m = std::pow(absmax[c], kSmoothing) /
                     std::pow(std::max(largest, kSmallestWeight), 1 - kSmoothing);
    if (absmax[c] > 0) smoothing[c] = std::max(static_cast<float>(m), kSmallestWeight);
  }
  return smoothing;
}

void ScaleColumns(MatrixView<float> weight, const std::vector<float>& factors) {
  for (int64_t r = 0; r < weight.rows; ++r) {
    for (int64_t c = 0; c < weight.cols; ++c) weight.row(r)[c] *= factors[c];
  }
}

float SmoothedAbsMax(const std::vector<float>& absmax, const std::vector<float>& smoothing) {
  float largest = 0;
  for (size_t i = 0; i < absmax.size(); ++i) largest = std::max(largest, absmax[i] / smoothing[i]);
  return largest;
}

absl::Status CheckTokens(const CalibrationSet& calibration, int64_t vocab_size) {
  for (const Samples* samples : {&calibration.samples, &calibration.held_out}) {
    for (const auto& sample : *samples) {
      const auto outside =
          std::ranges::find_if(sample, [&](int32_t id) { return id < 0 || id >= vocab_size; });
      if (outside != sample.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("calibration: token ", *outside, " seen, expected 0 to ", vocab_size - 1));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Feed(Model& model, const Samples& samples, const Stage& stage) {
  const int64_t most = model.info().max_positions;
  for (size_t i = 0; i < samples.size(); ++i) {
    RETURN_IF_ERROR(stage(static_cast<double>(i) / samples.size()));
    ASSIGN_OR_RETURN(const auto state, model.NewState());
    const int64_t size = std::ssize(samples[i]);
    const auto tokens = std::span(samples[i]).first(most > 0 ? std::min(size, most) : size);
    const engine::Run run{tokens, state.get(), LogitsOf::kAll};
    RETURN_IF_ERROR(model.Forward({&run, 1}).status());
  }
  return stage(1);
}

Samples SomeOf(const Samples& samples) {
  constexpr size_t kSome = 8;
  return Samples(samples.begin(), samples.begin() + std::min(kSome, samples.size()));
}

SiteReport MakeSiteReport(int64_t layer, std::string site, std::span<const float> scale,
                          const RoundingError& error) {
  const auto [smallest, largest] = std::ranges::minmax(scale);
  return {layer,   std::move(site),   std::ssize(scale), smallest,
          largest, error.clip_rate(), error.snr_db()};
}

void AppendWeightReports(const QuantizedTensors& quantized, std::string_view layer_prefix,
                         int64_t layers, QuantizationReport& report) {
  const auto tensors = Checkpoint::Of(quantized.tensors);
  for (const auto& [name, error] : quantized.errors) {
    const TensorView scale = tensors->tensors().at(ScaleName(name));
    std::vector<float> scales(scale.elements());
    ToFloat(scale, scales.data());
    const int64_t layer =
        name.starts_with(layer_prefix) ? std::stoll(name.substr(layer_prefix.size())) : layers;
    report.sites.push_back(MakeSiteReport(layer, name, scales, error));
  }
}

absl::Status WriteQuantized(const std::string& directory, const std::string& config_json,
                            const QuantizedTensors& quantized, const WorkProgress& progress,
                            QuantizationReport& report, AtomicDirectory& made) {
  RETURN_IF_ERROR(progress("Writing", 0.95));
  std::vector<NamedTensor> tensors;
  for (const OwnedTensor& tensor : quantized.tensors) {
    tensors.push_back({tensor.name, tensor.view()});
    report.quantized_bytes += std::ssize(tensor.data);
  }
  const fs::path to = made.path();
  RETURN_IF_ERROR(CopyTokenizerFiles(directory, made.path()));
  RETURN_IF_ERROR(WriteFileAtomically(to / "config.json", config_json));
  RETURN_IF_ERROR(WriteFileAtomically(to / "quantization_report.json", ReportJson(report)));
  RETURN_IF_ERROR(WriteSafetensors(to / "model.safetensors", tensors));
  RETURN_IF_ERROR(made.Commit());
  progress("Done", 1).IgnoreError();  // the output exists: it is too late to cancel
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
