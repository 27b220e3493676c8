#include "engine/quantize/job.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/checkpoint/tokenizer_files.h"
#include "engine/evaluate/perplexity.h"
#include "engine/layers/weights.h"
#include "engine/models/architecture.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;

// Returns INVALID_ARGUMENT for a token outside of [0, vocab_size).
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

}  // namespace

QuantizationJob::QuantizationJob(const QuantizationInputs& inputs, int64_t vocab_size)
    : calibration_(inputs.calibration),
      options_(inputs.options),
      recipe_(inputs.options.recipe),
      environment_(inputs.environment),
      progress_(inputs.progress),
      parameters_(inputs.config.parameters),
      vocab_size_(vocab_size) {}

absl::StatusOr<QuantizationReport> QuantizationJob::Run(const std::string& directory,
                                                        const std::string& out) {
  RETURN_IF_ERROR(Open(directory));
  // Created before the long work, so that an impossible target is refused now.
  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(out));
  RETURN_IF_ERROR(CheckDiskSpace(made.path(), parameters_));
  const absl::Status computed = Compute();
  RETURN_IF_ERROR(checkpoint_->Check());  // first, as changed files may cause other errors
  if (!computed.ok()) return WithPath(computed, directory);
  report_.scheme = recipe_.scheme;
  report_.calibration_tokens = calibration_.tokens();
  report_.calibration_digest = calibration_.digest;
  report_.float_bytes = parameters_ * static_cast<int64_t>(sizeof(float));
  RETURN_IF_ERROR(Write(directory, made));
  return std::move(report_);
}

absl::Status QuantizationJob::Open(const std::string& directory) {
  ASSIGN_OR_RETURN(config_json_, ReadTextFile(directory + "/config.json"));
  if (const absl::Status fault = ParsePythonJsonObject(config_json_).status(); !fault.ok()) {
    return WithPath(fault, directory + "/config.json");
  }
  RETURN_IF_ERROR(CheckTokens(calibration_, vocab_size_));
  ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(directory));
  const absl::Status prepared = Prepare();
  RETURN_IF_ERROR(checkpoint_->Check());
  if (!prepared.ok()) return WithPath(prepared, directory);
  ASSIGN_OR_RETURN(
      memory_, environment_.ledger->Reserve(parameters_, Purpose::kWorkspace, "quantized weights"));
  return absl::OkStatus();
}

absl::Status QuantizationJob::RunSamples(Model& model, const Samples& samples,
                                         const Stage& stage) const {
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

absl::Status QuantizationJob::RunSomeHeldOut(Model& model, const Stage& stage) const {
  constexpr size_t kSome = 8;
  const Samples& all = calibration_.held_out;
  return RunSamples(model, Samples(all.begin(), all.begin() + std::min(kSome, all.size())), stage);
}

absl::StatusOr<double> QuantizationJob::HeldOutLoss(Model& model, const Stage& stage) const {
  double loss = 0;
  int64_t predicted = 0;
  for (size_t i = 0; i < calibration_.held_out.size(); ++i) {
    RETURN_IF_ERROR(stage(static_cast<double>(i) / calibration_.held_out.size()));
    const std::vector<int32_t>& sample = calibration_.held_out[i];
    if (sample.size() < 2) continue;
    const PerplexityOptions whole{.window = static_cast<int64_t>(sample.size()),
                                  .known_tokens = calibration_.known_tokens,
                                  .priority = Priority::kTraining};
    ASSIGN_OR_RETURN(const Perplexity result,
                     EvaluatePerplexity(model, *environment_.executor, sample, whole));
    loss += result.nll * result.predicted;
    predicted += result.predicted;
  }
  return predicted == 0 ? 0 : loss / predicted;
}

void QuantizationJob::AddSiteReport(int64_t layer, std::string site, std::span<const float> scale,
                                    const RoundingError& error) {
  const auto [smallest, largest] = std::ranges::minmax(scale);
  report_.sites.push_back({layer, std::move(site), std::ssize(scale), smallest, largest,
                           error.clip_rate(), error.snr_db()});
}

void QuantizationJob::AddWeightReports(std::string_view layer_prefix, int64_t layers) {
  const auto tensors = Checkpoint::Of(quantized_.tensors);
  for (const auto& [name, error] : quantized_.errors) {
    const TensorView scale = tensors->tensors().at(ScaleName(name));
    std::vector<float> scales(scale.elements());
    ToFloat(scale, scales.data());
    const int64_t layer =
        name.starts_with(layer_prefix) ? std::stoll(name.substr(layer_prefix.size())) : layers;
    AddSiteReport(layer, name, scales, error);
  }
}

// The original config.json with quantization_config added.
std::string QuantizationJob::ConfigJson() const {
  auto config = PythonJsonInOrder(config_json_);
  config["quantization_config"] = {{"quant_method", Name(recipe_.scheme)},
                                   {"version", kQuantizationVersion},
                                   {"bits", 8},
                                   {"scheme", Name(recipe_.scheme)},
                                   {"head_bits", recipe_.head_bits},
                                   {"calibration_digest", calibration_.digest},
                                   {"calibration_tokens", calibration_.tokens()}};
  if (report_.percentile) config["quantization_config"]["percentile"] = *report_.percentile;
  EditConfig(config);
  return PythonJsonText(std::move(config)) + "\n";
}

// Writes config.json, the report, the tensors, and copies of the tokenizer's and the generation's
// files, and commits the directory.
absl::Status QuantizationJob::Write(const std::string& directory, AtomicDirectory& made) {
  RETURN_IF_ERROR(progress_("Writing", 0.95));
  std::vector<NamedTensor> tensors;
  for (const OwnedTensor& tensor : quantized_.tensors) {
    tensors.push_back({tensor.name, tensor.view()});
    report_.quantized_bytes += std::ssize(tensor.data);
  }
  const fs::path to = made.path();
  RETURN_IF_ERROR(CopyTokenizerFiles(directory, made.path()));
  RETURN_IF_ERROR(WriteFileAtomically(to / "config.json", ConfigJson()));
  RETURN_IF_ERROR(WriteFileAtomically(to / "quantization_report.json", ReportJson(report_)));
  RETURN_IF_ERROR(WriteSafetensors(to / "model.safetensors", tensors));
  RETURN_IF_ERROR(made.Commit());
  progress_("Done", 1).IgnoreError();  // the output exists: it is too late to cancel
  return absl::OkStatus();
}

absl::Status QuantizeParts(
    int64_t parts, Executor& executor, const std::function<absl::Status(double)>& progress,
    absl::FunctionRef<absl::Status(const kernels::Context& context, int64_t part)> quantize) {
  for (int64_t part = 0; part < parts; ++part) {
    RETURN_IF_ERROR(progress(static_cast<double>(part) / parts));
    absl::Status status;
    RETURN_IF_ERROR(executor.TryRun(Priority::kTraining, [&](const kernels::Context& context) {
      status = quantize(context, part);
    }));
    RETURN_IF_ERROR(status);
  }
  return progress(1);
}

}  // namespace whipsnake::engine
