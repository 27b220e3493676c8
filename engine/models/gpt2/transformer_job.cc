#include "engine/models/gpt2/transformer_job.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/config.h"
#include "engine/models/gpt2/gpt2.h"
#include "engine/models/gpt2/gpt2_names.h"
#include "engine/models/gpt2/transformer_quantizer.h"
#include "engine/models/gpt2/transformer_statistics.h"
#include "engine/quantize/job.h"

namespace whipsnake::engine {
namespace {

// One quantization of a transformer.
class Job {
 public:
  Job(const Gpt2Config& config, const CalibrationSet& calibration, const QuantizeOptions& options,
      const ModelEnvironment& environment, const WorkProgress& progress)
      : calibration_(calibration),
        recipe_(options.recipe),
        environment_(environment),
        progress_(progress),
        config_(config) {}

  absl::StatusOr<QuantizationReport> Run(const std::string& directory, const std::string& out);

 private:
  absl::Status Open(const std::string& directory);
  absl::Status FeedTo(TransformerObserver& observer, const Samples& samples, const Stage& stage);
  absl::Status MeasureErrors(const Stage& stage);
  absl::Status Compute();
  std::string ConfigJson() const;

  const CalibrationSet& calibration_;
  const Recipe& recipe_;
  const ModelEnvironment& environment_;
  const WorkProgress& progress_;

  const Gpt2Config config_;
  std::string config_json_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  Reservation memory_;
  QuantizedTransformer quantized_;
  QuantizationReport report_;
};

absl::Status Job::Open(const std::string& directory) {
  ASSIGN_OR_RETURN(config_json_, ReadTextFile(directory + "/config.json"));
  RETURN_IF_ERROR(CheckTokens(calibration_, config_.vocab_size));
  ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(directory));
  ASSIGN_OR_RETURN(memory_, environment_.ledger->Reserve(config_.parameters(), Purpose::kWorkspace,
                                                         "quantized weights"));
  return absl::OkStatus();
}

absl::Status Job::FeedTo(TransformerObserver& observer, const Samples& samples,
                         const Stage& stage) {
  ASSIGN_OR_RETURN(const auto model, MakeGpt2(config_, checkpoint_, {.scheme = Scheme::kFp32},
                                              environment_, &observer));
  return Feed(*model, samples, stage);
}

absl::Status Job::MeasureErrors(const Stage& stage) {
  TransformerErrors errors(&quantized_.sites);
  RETURN_IF_ERROR(FeedTo(errors, SomeOf(calibration_.held_out), stage));
  for (const auto& [place, error] : errors.errors()) {
    const SiteRounding& rounding = quantized_.sites.at(place);
    SiteReport site =
        MakeSiteReport(place.first, SiteName(place.second), {{rounding.scale}}, error);
    if (rounding.scale == 0) site.scales = 0;  // one per token, not stored
    report_.sites.push_back(std::move(site));
  }
  AppendWeightReports(quantized_.weights, Gpt2Prefix(*checkpoint_) + "h.", config_.layers, report_);
  return absl::OkStatus();
}

// The original config.json, with quantization_config added.
std::string Job::ConfigJson() const {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(config_json_);
  config["quantization_config"] = {
      {"quant_method", Name(recipe_.scheme)},
      {"version", kQuantizationVersion},
      {"bits", 8},
      {"scheme", Name(recipe_.scheme)},
      {"activations", recipe_.static_activations ? "static" : "dynamic"},
      {"head_bits", recipe_.head_bits},
      {"calibration_digest", calibration_.digest},
      {"calibration_tokens", calibration_.tokens()}};
  return config.dump(2) + "\n";
}

absl::Status Job::Compute() {
  TransformerStatistics statistics;
  RETURN_IF_ERROR(FeedTo(statistics, calibration_.samples, {progress_, "Calibrating", 0, 0.7}));
  RETURN_IF_ERROR(statistics.status());
  const Stage rounding{progress_, "Rounding weights", 0.7, 0.9};
  ASSIGN_OR_RETURN(quantized_,
                   QuantizeTransformerTensors(*checkpoint_, config_, recipe_, statistics,
                                              *environment_.executor, rounding));
  report_.scheme = recipe_.scheme;
  report_.calibration_tokens = calibration_.tokens();
  report_.calibration_digest = calibration_.digest;
  report_.float_bytes = config_.parameters() * static_cast<int64_t>(sizeof(float));
  report_.warnings = quantized_.warnings;
  return MeasureErrors({progress_, "Measuring the errors", 0.9, 0.95});
}

absl::StatusOr<QuantizationReport> Job::Run(const std::string& directory, const std::string& out) {
  RETURN_IF_ERROR(Open(directory));
  // Created before the long work, so that an impossible target is refused now.
  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(out));
  RETURN_IF_ERROR(CheckDiskSpace(made.path(), config_.parameters()));
  const absl::Status computed = Compute();
  RETURN_IF_ERROR(checkpoint_->Check());  // first, as changed files may cause other errors
  if (!computed.ok()) return WithPath(computed, directory);
  RETURN_IF_ERROR(
      WriteQuantized(directory, ConfigJson(), quantized_.weights, progress_, report_, made));
  return std::move(report_);
}

}  // namespace

absl::StatusOr<QuantizationReport> QuantizeTransformer(
    const std::string& directory, const ModelConfig& config, const CalibrationSet& calibration,
    const QuantizeOptions& options, const std::string& out, const ModelEnvironment& environment,
    const WorkProgress& progress) {
  return Job(config.As<Gpt2Config>(), calibration, options, environment, progress)
      .Run(directory, out);
}

}  // namespace whipsnake::engine
