#include "engine/models/gpt2/gpt2_job.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/status.h"
#include "engine/models/config.h"
#include "engine/models/gpt2/gpt2.h"
#include "engine/models/gpt2/gpt2_names.h"
#include "engine/models/gpt2/gpt2_quantizer.h"
#include "engine/models/gpt2/gpt2_statistics.h"
#include "engine/quantize/job.h"

namespace whipsnake::engine {
namespace {

class Gpt2Job : public QuantizationJob {
 public:
  explicit Gpt2Job(const QuantizationInputs& inputs)
      : Gpt2Job(inputs, inputs.config.As<Gpt2Config>()) {}

 private:
  Gpt2Job(const QuantizationInputs& inputs, const Gpt2Config& config)
      : QuantizationJob(inputs, config.vocab_size), config_(config) {}

  absl::Status Compute() override;
  void EditConfig(nlohmann::ordered_json& config) const override;

  absl::StatusOr<std::unique_ptr<Model>> FloatModel(TransformerObserver& observer) const;
  absl::Status MeasureErrors(const std::map<TransformerPlace, SiteRounding>& sites,
                             const Stage& stage);

  const Gpt2Config& config_;
};

absl::StatusOr<std::unique_ptr<Model>> Gpt2Job::FloatModel(TransformerObserver& observer) const {
  return MakeGpt2(config_, checkpoint_, {.scheme = Scheme::kFp32}, environment_, &observer);
}

absl::Status Gpt2Job::MeasureErrors(const std::map<TransformerPlace, SiteRounding>& sites,
                                    const Stage& stage) {
  TransformerErrors errors(&sites);
  ASSIGN_OR_RETURN(const auto model, FloatModel(errors));
  RETURN_IF_ERROR(RunSomeHeldOut(*model, stage));
  for (const auto& [place, error] : errors.errors()) {
    const float scale = sites.at(place).scale;
    AddSiteReport(place.first, SiteName(place.second), {{scale}}, error);
    if (scale == 0) report_.sites.back().scales = 0;  // one per token, not stored
  }
  AddWeightReports(Gpt2Prefix(*checkpoint_) + "h.", config_.layers);
  return absl::OkStatus();
}

absl::Status Gpt2Job::Compute() {
  TransformerStatistics statistics;
  {
    ASSIGN_OR_RETURN(const auto model, FloatModel(statistics));
    RETURN_IF_ERROR(RunSamples(*model, calibration_.samples, {progress_, "Calibrating", 0, 0.7}));
  }
  RETURN_IF_ERROR(statistics.status());
  const Stage rounding{progress_, "Rounding weights", 0.7, 0.9};
  ASSIGN_OR_RETURN(QuantizedGpt2 quantized,
                   QuantizeGpt2Tensors(*checkpoint_, config_, recipe_, statistics,
                                       *environment_.executor, rounding));
  quantized_ = std::move(quantized.weights);
  report_.warnings = std::move(quantized.warnings);
  return MeasureErrors(quantized.sites, {progress_, "Measuring the errors", 0.9, 0.95});
}

void Gpt2Job::EditConfig(nlohmann::ordered_json& config) const {
  config["quantization_config"]["activations"] = recipe_.static_activations ? "static" : "dynamic";
}

}  // namespace

absl::StatusOr<QuantizationReport> QuantizeGpt2(const std::string& directory,
                                                const std::string& out,
                                                const QuantizationInputs& inputs) {
  return Gpt2Job(inputs).Run(directory, out);
}

}  // namespace whipsnake::engine
