#include "engine/models/mamba/mamba_job.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/evaluate/perplexity.h"
#include "engine/models/mamba/mamba.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/mamba/mamba_errors.h"
#include "engine/models/mamba/mamba_quantizer.h"
#include "engine/models/mamba/mamba_statistics.h"
#include "engine/quantize/job.h"

namespace whipsnake::engine {
namespace {

constexpr double kTrials[] = {0.9995, 0.9999, 0.99999, 1};
// The weights are rounded once, before the trials. Each trial sets only the scale of x, so the
// choice of the first one does not matter.
constexpr size_t kFirstTrial = 2;

// The clips to try for int8 states, as multiples of the mean of the samples' largest magnitudes. A
// finer scale loses fewer of the small updates that make up a state, but more of the rare large
// values.
constexpr double kStateClips[] = {2, 1.4, 1, 0.7, 0.5, 0.35};

// One quantization of a Mamba.
class Job {
 public:
  Job(const MambaConfig& config, const CalibrationSet& calibration, const QuantizeOptions& options,
      const ModelEnvironment& environment, const WorkProgress& progress)
      : calibration_(calibration),
        options_(options),
        recipe_(options.recipe),
        environment_(environment),
        progress_(progress),
        config_(config) {}

  absl::Status Open(const std::string& directory);
  absl::StatusOr<QuantizationReport> Run(const std::string& directory, const std::string& out);

 private:
  absl::Status Calibrate(const Stage& stage);
  absl::StatusOr<std::unique_ptr<Model>> QuantizedModel(const ModelOptions& options = {}) const;
  absl::StatusOr<double> HeldOutLoss(Model& model, const Stage& stage) const;
  absl::Status ChoosePercentile(const Stage& stage);
  absl::Status ChooseStateClip(const Stage& stage);
  absl::Status MeasureErrors(const Stage& stage);
  absl::Status Compute();
  MambaConfig QuantizedConfig() const;
  std::string ConfigJson() const;

  const CalibrationSet& calibration_;
  const QuantizeOptions& options_;
  const Recipe& recipe_;
  const ModelEnvironment& environment_;
  const WorkProgress& progress_;

  const MambaConfig config_;
  std::string config_json_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::vector<std::vector<float>> norms_;
  std::unique_ptr<MambaStatistics> statistics_;
  QuantizedTensors quantized_;
  Reservation memory_;
  QuantizationReport report_;
};

absl::Status Job::Open(const std::string& directory) {
  ASSIGN_OR_RETURN(config_json_, ReadTextFile(directory + "/config.json"));
  RETURN_IF_ERROR(CheckTokens(calibration_, config_.vocab_size));
  ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(directory));
  auto norms = ReadNorms(*checkpoint_, config_);
  RETURN_IF_ERROR(checkpoint_->Check());
  if (!norms.ok()) return WithPath(norms.status(), directory);
  norms_ = *std::move(norms);
  ASSIGN_OR_RETURN(memory_, environment_.ledger->Reserve(config_.parameters(), Purpose::kWorkspace,
                                                         "quantized weights"));
  return absl::OkStatus();
}

absl::Status Job::Calibrate(const Stage& stage) {
  std::vector<double> alphas(std::begin(kTrials), std::end(kTrials));
  if (options_.percentile) alphas = {*options_.percentile};
  statistics_ = std::make_unique<MambaStatistics>(config_, norms_, alphas);
  ASSIGN_OR_RETURN(const auto model, MakeMamba(config_, checkpoint_, {.scheme = Scheme::kFp32},
                                               environment_, statistics_.get()));
  RETURN_IF_ERROR(Feed(*model, calibration_.samples, stage));
  return statistics_->status();
}

MambaConfig Job::QuantizedConfig() const {
  MambaConfig config = config_;
  config.quantization = {recipe_.scheme, recipe_.output_rotation, recipe_.head_bits};
  config.tie_embeddings = config_.tie_embeddings && !recipe_.residual_rotation;
  return config;
}

absl::StatusOr<std::unique_ptr<Model>> Job::QuantizedModel(const ModelOptions& options) const {
  return MakeMamba(QuantizedConfig(), Checkpoint::Of(quantized_.tensors), options, environment_);
}

absl::StatusOr<double> Job::HeldOutLoss(Model& model, const Stage& stage) const {
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

absl::Status Job::ChoosePercentile(const Stage& stage) {
  const std::vector<double>& alphas = statistics_->alphas();
  size_t best = 0;
  if (alphas.size() > 1) {
    for (size_t i = 0; i < alphas.size(); ++i) {
      const Stage trial = stage.Part(i, alphas.size());
      SetPercentile(config_, recipe_, *statistics_, i, quantized_.tensors);
      ASSIGN_OR_RETURN(const auto model, QuantizedModel());
      ASSIGN_OR_RETURN(const double loss, HeldOutLoss(*model, trial));
      report_.trials.push_back({alphas[i], loss});
      if (loss < report_.trials[best].nll) best = i;
    }
  }
  SetPercentile(config_, recipe_, *statistics_, best, quantized_.tensors);
  report_.percentile = alphas[best];
  return absl::OkStatus();
}

// For int8 states: chooses the clip with which the model predicts the held-out text best.
absl::Status Job::ChooseStateClip(const Stage& stage) {
  size_t best = 0;
  for (size_t i = 0; i < std::size(kStateClips); ++i) {
    SetStateClip(config_, recipe_, *statistics_, kStateClips[i], quantized_.tensors);
    ASSIGN_OR_RETURN(const auto model, QuantizedModel({.state_type = kernels::DType::kI8}));
    ASSIGN_OR_RETURN(const double loss, HeldOutLoss(*model, stage.Part(i, std::size(kStateClips))));
    report_.state_trials.push_back({kStateClips[i], loss});
    if (loss < report_.state_trials[best].nll) best = i;
  }
  SetStateClip(config_, recipe_, *statistics_, kStateClips[best], quantized_.tensors);
  report_.state_clip = kStateClips[best];
  return absl::OkStatus();
}

absl::Status Job::MeasureErrors(const Stage& stage) {
  const auto quantized = Checkpoint::Of(quantized_.tensors);
  ASSIGN_OR_RETURN(const auto errors,
                   QuantizationError::Make(*quantized, config_, recipe_, norms_));
  ASSIGN_OR_RETURN(const auto model, MakeMamba(config_, checkpoint_, {.scheme = Scheme::kFp32},
                                               environment_, errors.get()));
  RETURN_IF_ERROR(Feed(*model, SomeOf(calibration_.held_out), stage));
  for (const auto& [key, site] : errors->sites()) {
    report_.sites.push_back(
        MakeSiteReport(key.first, SiteName(key.second), site.scale, site.error));
  }
  AppendWeightReports(quantized_, "backbone.layers.", config_.layers, report_);
  return absl::OkStatus();
}

// The original config.json, converted to Hugging Face's form if necessary, with quantization_config
// added.
std::string Job::ConfigJson() const {
  nlohmann::ordered_json config;
  if (config_.original_form) {
    config = {{"architectures", {"MambaForCausalLM"}},
              {"model_type", "mamba"},
              {"vocab_size", config_.vocab_size},
              {"hidden_size", config_.hidden_size},
              {"intermediate_size", config_.intermediate_size},
              {"state_size", config_.state_size},
              {"num_hidden_layers", config_.layers},
              {"conv_kernel", config_.conv_kernel},
              {"time_step_rank", config_.time_step_rank},
              {"layer_norm_epsilon", config_.norm_epsilon},
              {"use_bias", config_.use_bias},
              {"use_conv_bias", config_.use_conv_bias},
              {"eos_token_id", config_.eos_token_ids}};
  } else {
    config = nlohmann::ordered_json::parse(config_json_);
  }
  config["tie_word_embeddings"] = QuantizedConfig().tie_embeddings;
  nlohmann::ordered_json quantization = {
      {"quant_method", "quamba"},
      {"version", kQuantizationVersion},
      {"bits", 8},
      {"scheme", Name(recipe_.scheme)},
      {"output_rotation", recipe_.output_rotation},
      {"residual_rotation", recipe_.residual_rotation},
      {"granularity", recipe_.granularity == Granularity::kChannel ? "channel" : "tensor"},
      {"head_bits", recipe_.head_bits},
      {"calibration_digest", calibration_.digest},
      {"calibration_tokens", calibration_.tokens()}};
  if (report_.percentile) quantization["percentile"] = *report_.percentile;
  config["quantization_config"] = std::move(quantization);
  return config.dump(2) + "\n";
}

absl::Status Job::Compute() {
  const bool choose = recipe_.percentile && !options_.percentile;
  const double weights_begin = choose ? 0.5 : 0.65;
  RETURN_IF_ERROR(Calibrate({progress_, "Calibrating", 0, weights_begin}));
  const Stage rounding{progress_, "Rounding weights", weights_begin, weights_begin + 0.1};
  ASSIGN_OR_RETURN(quantized_, QuantizeTensors(*checkpoint_, config_, recipe_, *statistics_,
                                               /*alpha=*/options_.percentile ? 0 : kFirstTrial,
                                               *environment_.executor, rounding));
  if (recipe_.percentile) {
    RETURN_IF_ERROR(
        ChoosePercentile({progress_, "Choosing the percentile", weights_begin + 0.1, 0.75}));
  }
  RETURN_IF_ERROR(ChooseStateClip({progress_, "Choosing the scale of states", 0.75, 0.9}));
  report_.scheme = recipe_.scheme;
  report_.calibration_tokens = calibration_.tokens();
  report_.calibration_digest = calibration_.digest;
  report_.float_bytes = config_.parameters() * static_cast<int64_t>(sizeof(float));
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
  RETURN_IF_ERROR(WriteQuantized(directory, ConfigJson(), quantized_, progress_, report_, made));
  return std::move(report_);
}

}  // namespace

absl::StatusOr<QuantizationReport> QuantizeMamba(
    const std::string& directory, const ModelConfig& config, const CalibrationSet& calibration,
    const QuantizeOptions& options, const std::string& out, const ModelEnvironment& environment,
    const WorkProgress& progress) {
  return Job(config.As<MambaConfig>(), calibration, options, environment, progress)
      .Run(directory, out);
}

}  // namespace whipsnake::engine
