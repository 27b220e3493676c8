#include "engine/models/mamba/mamba_job.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
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

class MambaJob : public QuantizationJob {
 public:
  explicit MambaJob(const QuantizationInputs& inputs)
      : MambaJob(inputs, inputs.config.As<MambaConfig>()) {}

 private:
  MambaJob(const QuantizationInputs& inputs, const MambaConfig& config)
      : QuantizationJob(inputs, config.vocab_size), config_(config) {}

  absl::Status Prepare() override;
  absl::Status Compute() override;
  void EditConfig(nlohmann::ordered_json& config) const override;

  absl::Status Calibrate(const Stage& stage);
  absl::StatusOr<std::unique_ptr<Model>> FloatModel(MambaObserver& observer) const;
  absl::StatusOr<std::unique_ptr<Model>> QuantizedModel(const ModelOptions& options = {}) const;
  absl::Status ChoosePercentile(const Stage& stage);
  absl::Status ChooseStateClip(const Stage& stage);
  absl::Status MeasureErrors(const Stage& stage);
  MambaConfig QuantizedConfig() const;

  const MambaConfig& config_;
  std::vector<std::vector<float>> norms_;
  std::unique_ptr<MambaStatistics> statistics_;
};

absl::Status MambaJob::Prepare() {
  ASSIGN_OR_RETURN(norms_, ReadNorms(*checkpoint_, config_));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> MambaJob::FloatModel(MambaObserver& observer) const {
  return MakeMamba(config_, checkpoint_, {.scheme = Scheme::kFp32}, environment_, &observer);
}

absl::Status MambaJob::Calibrate(const Stage& stage) {
  std::vector<double> alphas(std::begin(kTrials), std::end(kTrials));
  if (options_.percentile) alphas = {*options_.percentile};
  statistics_ = std::make_unique<MambaStatistics>(config_, norms_, alphas);
  ASSIGN_OR_RETURN(const auto model, FloatModel(*statistics_));
  RETURN_IF_ERROR(RunSamples(*model, calibration_.samples, stage));
  return statistics_->status();
}

MambaConfig MambaJob::QuantizedConfig() const {
  MambaConfig config = config_;
  config.quantization = {recipe_.scheme, recipe_.output_rotation, recipe_.head_bits};
  config.tie_embeddings = config_.tie_embeddings && !recipe_.residual_rotation;
  return config;
}

absl::StatusOr<std::unique_ptr<Model>> MambaJob::QuantizedModel(const ModelOptions& options) const {
  return MakeMamba(QuantizedConfig(), Checkpoint::Of(quantized_.tensors), options, environment_);
}

absl::Status MambaJob::ChoosePercentile(const Stage& stage) {
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
absl::Status MambaJob::ChooseStateClip(const Stage& stage) {
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

absl::Status MambaJob::MeasureErrors(const Stage& stage) {
  const auto quantized = Checkpoint::Of(quantized_.tensors);
  ASSIGN_OR_RETURN(const auto errors,
                   QuantizationError::Make(*quantized, config_, recipe_, norms_));
  ASSIGN_OR_RETURN(const auto model, FloatModel(*errors));
  RETURN_IF_ERROR(RunSomeHeldOut(*model, stage));
  for (const auto& [key, site] : errors->sites()) {
    AddSiteReport(key.first, SiteName(key.second), site.scale, site.error);
  }
  AddWeightReports("backbone.layers.", config_.layers);
  return absl::OkStatus();
}

// The config of a checkpoint in the original form is converted to Hugging Face's.
void MambaJob::EditConfig(nlohmann::ordered_json& config) const {
  nlohmann::ordered_json quantization = std::move(config["quantization_config"]);
  quantization["quant_method"] = "quamba";
  quantization["output_rotation"] = recipe_.output_rotation;
  quantization["residual_rotation"] = recipe_.residual_rotation;
  quantization["granularity"] = recipe_.granularity == Granularity::kChannel ? "channel" : "tensor";
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
  }
  config["tie_word_embeddings"] = QuantizedConfig().tie_embeddings;
  config["quantization_config"] = std::move(quantization);
}

absl::Status MambaJob::Compute() {
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
  return MeasureErrors({progress_, "Measuring the errors", 0.9, 0.95});
}

}  // namespace

absl::StatusOr<QuantizationReport> QuantizeMamba(const std::string& directory,
                                                 const std::string& out,
                                                 const QuantizationInputs& inputs) {
  return MambaJob(inputs).Run(directory, out);
}

}  // namespace whipsnake::engine
