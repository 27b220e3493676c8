#include "server/cli/train_plan.h"

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/finetune/plan/measure_rates.h"
#include "engine/finetune/plan/memory_budget.h"
#include "engine/finetune/plan/training_plan.h"

namespace whipsnake::server {
namespace {

using engine::Candidate;
using engine::TensorClass;

// What is planned, and for which machine.
struct PlannedJob {
  engine::SettingsChoice settings;
  engine::ComputeRates rates;
  int64_t limit;

  double StepSeconds(const Candidate& candidate) const {
    return engine::EstimateSeconds(candidate.plan.cost, rates);
  }
  bool Fits(const Candidate& candidate) const { return candidate.plan.sufficient_bytes() <= limit; }
};

// What a class of tensors is, for people.
std::string ClassText(TensorClass tensor_class) {
  std::string name(engine::Name(tensor_class));
  for (char& c : name) {
    if (c == '_') c = ' ';
  }
  return name;
}

std::string MemoryTable(const engine::TrainingPlan& plan) {
  std::vector<std::vector<std::string>> rows = {
      {"Memory", "MiB"},
      {"weights", Mebibytes(plan.memory.parameters)},
      {"moments", Mebibytes(plan.memory.moments)},
      {"gradients and activations", Mebibytes(plan.memory.activations)}};
  for (int i = 0; i < engine::kTensorClassCount; ++i) {
    if (plan.memory.classes[i] == 0) continue;
    rows.push_back(
        {"  " + ClassText(static_cast<TensorClass>(i)), Mebibytes(plan.memory.classes[i])});
  }
  rows.push_back({"data", Mebibytes(plan.held_bytes)});
  rows.push_back({"peak", Mebibytes(plan.peak_bytes)});
  return Table(rows);
}

// "slimfit 0.9, default": the scheduler and, if there is any, the compression.
std::string ShortSettings(const engine::TrainingOptions& options) {
  std::string text = engine::SchedulerText(options.freezing);
  if (options.compression != engine::Compression::kNone) {
    text += ", " + std::string(engine::Name(options.compression));
  }
  return text;
}

std::string CandidateTable(const PlannedJob& job) {
  std::vector<std::vector<std::string>> rows = {
      {"Settings", "checkpointing", "moments", "updates", "MiB", "step", "fits"}};
  for (const Candidate& candidate : job.settings.candidates) {
    const engine::TrainingOptions& options = candidate.options;
    rows.push_back({ShortSettings(options), options.gradient_checkpointing ? "yes" : "no",
                    std::string(engine::Name(options.optimizer.moments)),
                    options.update_in_backward ? "backward" : "after",
                    Mebibytes(candidate.plan.sufficient_bytes()),
                    engine::HumanDuration(job.StepSeconds(candidate)),
                    job.Fits(candidate) ? "yes" : "no"});
  }
  return Table(rows);
}

void PrintText(const PlannedJob& job) {
  const engine::TrainingPlan& plan = job.settings.chosen.plan;
  const double seconds = job.StepSeconds(job.settings.chosen);
  std::cout << "Settings: " << engine::MemorySettingsText(job.settings.chosen.options) << "\n\n"
            << MemoryTable(plan) << "\n"
            << absl::StrFormat(
                   "The lines below gradients and activations are each at their own "
                   "highest.\n%s of %s layers train in a step, in the mean.\n",
                   engine::HumanNumber(plan.active_layers, 3), engine::HumanCount(plan.layers))
            << absl::StrFormat("A step of %s tokens takes about %s, and %s steps about %s.\n\n",
                               engine::HumanCount(plan.tokens), engine::HumanDuration(seconds),
                               engine::HumanCount(plan.steps),
                               engine::HumanDuration(seconds * static_cast<double>(plan.steps)))
            << CandidateTable(job) << "\n"
            << "Settings: the scheduler and the compression. MiB: a budget that is enough. For\n"
               "slimfit and misa it includes a margin, because their layers are chosen by\n"
               "measures of the run. fits: in "
            << engine::HumanBytes(job.limit) << ". --memory-budget takes the first that\nfits.\n";
}

Json CandidateJson(const PlannedJob& job, const Candidate& candidate) {
  const engine::TrainingOptions& options = candidate.options;
  Json object = engine::ToJson(options.freezing);
  object["compression"] = std::string(engine::Name(options.compression));
  object["checkpointing"] = options.gradient_checkpointing;
  object["moments"] = std::string(engine::Name(options.optimizer.moments));
  object["update_in_backward"] = options.update_in_backward;
  object["peak_bytes"] = candidate.plan.peak_bytes;
  object["sufficient_bytes"] = candidate.plan.sufficient_bytes();
  object["step_seconds"] = job.StepSeconds(candidate);
  object["fits"] = job.Fits(candidate);
  return object;
}

void PrintJson(const PlannedJob& job, const Output& output) {
  Json object = {{"event", "plan"}, {"limit_bytes", job.limit}};
  object.update(CandidateJson(job, job.settings.chosen));
  object["total_seconds"] =
      job.StepSeconds(job.settings.chosen) * static_cast<double>(job.settings.chosen.plan.steps);
  object["plan"] = engine::ToJson(job.settings.chosen.plan);
  object["rates"] = {{"product_flops", job.rates.product_flops},
                     {"attention_flops", job.rates.attention_flops},
                     {"scan_elements", job.rates.scan_elements},
                     {"bytes", job.rates.bytes}};
  object["candidates"] = Json::array();
  for (const Candidate& candidate : job.settings.candidates) {
    object["candidates"].push_back(CandidateJson(job, candidate));
  }
  output.Object(object);
}

}  // namespace

absl::Status PrintPlan(engine::FineTuning& job, engine::Executor& executor, const Output& output) {
  PlannedJob planned;
  ASSIGN_OR_RETURN(planned.settings, job.PlanSettings());
  ASSIGN_OR_RETURN(const engine::PlannedRun run, job.DescribeRun());
  planned.rates = engine::MeasureRates(executor, engine::RateShape::Of(run));
  planned.limit = job.limit();
  output.json() ? PrintJson(planned, output) : PrintText(planned);
  return planned.settings.fits;
}

}  // namespace whipsnake::server
