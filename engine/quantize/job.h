// The quantization of one model directory, as far as it is the same for all families.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/atomic_file.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/base/progress.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/config.h"
#include "engine/models/model.h"
#include "engine/quantize/calibration.h"
#include "engine/quantize/quantize.h"
#include "engine/quantize/quantized_tensors.h"
#include "kernels/context.h"

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

// Runs the steps of one quantization; a family derives from it. Used once.
class QuantizationJob {
 public:
  virtual ~QuantizationJob() = default;

  // Quantizes `directory` into `out`; see QuantizeModel().
  absl::StatusOr<QuantizationReport> Run(const std::string& directory, const std::string& out);

 protected:
  QuantizationJob(const QuantizationInputs& inputs, int64_t vocab_size);

  // Reads what the job needs of the checkpoint. Called before the output exists.
  virtual absl::Status Prepare() { return absl::OkStatus(); }
  // Fills in quantized_ and the report, up to 0.95 of the progress.
  virtual absl::Status Compute() = 0;
  // Adapts config.json; Run() has added the keys of "quantization_config" that all families have.
  virtual void EditConfig(nlohmann::ordered_json& config) const = 0;

  // Runs one forward pass per sample, cut at the model's positions.
  absl::Status RunSamples(Model& model, const Samples& samples, const Stage& stage) const;
  // Runs the first few held-out samples, which are enough to measure errors.
  absl::Status RunSomeHeldOut(Model& model, const Stage& stage) const;
  // The loss of the model on the held-out text, in nats per token.
  absl::StatusOr<double> HeldOutLoss(Model& model, const Stage& stage) const;

  void AddSiteReport(int64_t layer, std::string site, std::span<const float> scale,
                     const RoundingError& error);
  // Adds the reports of the weights. The names of a layer's weights begin with `layer_prefix` and
  // its number; all other weights are reported for layer `layers`.
  void AddWeightReports(std::string_view layer_prefix, int64_t layers);

  const CalibrationSet& calibration_;
  const QuantizeOptions& options_;
  const Recipe& recipe_;
  const ModelEnvironment& environment_;
  const WorkProgress& progress_;
  std::shared_ptr<const Checkpoint> checkpoint_;  // of the float model
  QuantizedTensors quantized_;
  QuantizationReport report_;

 private:
  absl::Status Open(const std::string& directory);
  std::string ConfigJson() const;
  absl::Status Write(const std::string& directory, AtomicDirectory& made);

  const int64_t parameters_, vocab_size_;
  std::string config_json_;
  Reservation memory_;
};

// Calls quantize(context, part) for each part from 0 to `parts` - 1 on the executor, at the
// priority of training. `progress` receives the fraction that is done. Ends with the first error of
// either.
absl::Status QuantizeParts(
    int64_t parts, Executor& executor, const std::function<absl::Status(double)>& progress,
    absl::FunctionRef<absl::Status(const kernels::Context& context, int64_t part)> quantize);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_JOB_H_
