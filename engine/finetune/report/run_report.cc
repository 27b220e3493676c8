#include "engine/finetune/report/run_report.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace whipsnake::engine {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxNameBytes = 1000;

// The name of a data set in a sentence: that of the file or, since many files of training data are
// named "train", of its directory.
std::string DataName(const std::string& path) {
  const std::filesystem::path file(path);
  const std::string parent = file.parent_path().filename().string();
  return file.stem() == "train" && !parent.empty() ? parent : file.stem().string();
}

std::string FromTo(std::string_view what, double from, double to) {
  return absl::StrCat(ToAbsl(what), " ", HumanNumber(from, 3), " → ", HumanNumber(to, 3));
}

// How the run changed the result: by its evaluations or, without any, by the losses of training.
std::string ChangeText(const RunReport& report) {
  const RunLog& log = report.log;
  if (const EvaluationRecord* const last = report.final_evaluation(); last != nullptr) {
    const EvaluationRecord& first = log.evaluations.front();
    const bool by_accuracy =
        report.options.task != Task::kCausalLm && first.accuracy && last->accuracy;
    const double from = by_accuracy ? *first.accuracy : first.loss;
    const double to = by_accuracy ? *last->accuracy : last->loss;
    const char* const what = by_accuracy ? "accuracy" : "evaluation loss";
    return last == &first ? absl::StrCat(what, " ", HumanNumber(to, 3)) : FromTo(what, from, to);
  }
  if (log.steps.empty()) return "no result";
  return FromTo("training loss", log.steps.front().loss, log.steps.back().loss);
}

std::vector<std::string> BoundedNames(const std::vector<std::string>& names) {
  std::vector<std::string> bounded;
  for (const std::string& name : names) bounded.push_back(BoundedUtf8(name, kMaxNameBytes));
  return bounded;
}

ordered_json ModelJson(const RunReport& report) {
  return {{"name", BoundedUtf8(report.model, kMaxNameBytes)},
          {"family", BoundedUtf8(report.family, kMaxNameBytes)},
          {"parameters", report.parameters},
          {"arithmetic", report.options.arithmetic == kernels::DType::kBF16 ? "bf16" : "fp32"},
          {"fresh", BoundedNames(report.fresh)},
          {"dropped", BoundedNames(report.dropped)}};
}

ordered_json MemoryJson(const TrainingMemory& memory) {
  return {{"activations", memory.activations},
          {"gradients", memory.gradients},
          {"parameters", memory.parameters},
          {"moments", memory.moments},
          {"classes", ClassBytesToJson(memory.classes)}};
}

ordered_json LayersJson(const RunReport& report) {
  const std::vector<int64_t> active_steps = report.active_steps();
  ordered_json list = ordered_json::array();
  for (size_t i = 0; i < report.layers.size(); ++i) {
    const ScheduledLayer& layer = report.layers[i];
    ordered_json& object = list.emplace_back();
    object["name"] = BoundedUtf8(layer.name, kMaxNameBytes);
    if (layer.block >= 0) object["block"] = layer.block;
    object["active_steps"] = active_steps[i];
  }
  return list;
}

ordered_json DataJson(const RunReport& report) {
  ordered_json data = {{"training", ToJson(report.training_data)}};
  if (report.evaluation_data) data["evaluation"] = ToJson(*report.evaluation_data);
  return data;
}

}  // namespace

std::string_view Name(RunEnd end) {
  switch (end) {
    case RunEnd::kFinished:
      return "finished";
    case RunEnd::kStoppedEarly:
      return "stopped early";
    case RunEnd::kCancelled:
      return "cancelled";
  }
  return "?";
}

const EvaluationRecord* RunReport::best_evaluation() const {
  const int64_t best = log.BestEvaluation();
  return best < 0 ? nullptr : &log.evaluations[best];
}

const EvaluationRecord* RunReport::final_evaluation() const {
  if (options.patience > 0 || log.evaluations.empty()) return best_evaluation();
  return &log.evaluations.back();
}

std::vector<int64_t> RunReport::active_steps() const {
  std::vector<int64_t> counts(layers.size(), 0);
  for (const StepRecord& step : log.steps) {
    for (size_t i = 0; i < counts.size(); ++i) {
      counts[i] += step.active.size() != counts.size() || step.active[i];
    }
  }
  return counts;
}

double RunReport::median_step_seconds() const {
  if (log.steps.empty()) return 0;
  std::vector<double> times;
  for (const StepRecord& step : log.steps) times.push_back(step.seconds);
  const auto middle = times.begin() + std::ssize(times) / 2;
  std::ranges::nth_element(times, middle);
  return *middle;
}

double RunReport::tokens_per_second() const {
  double total = 0;
  for (const StepRecord& step : log.steps) total += step.seconds;
  return total > 0 ? static_cast<double>(tokens()) / total : 0;
}

int64_t RunReport::tokens() const {
  int64_t total = 0;
  for (const StepRecord& step : log.steps) total += step.tokens;
  return total;
}

std::string Sentence(const RunReport& report) {
  const int64_t steps = std::ssize(report.log.steps);
  return absl::StrCat(report.model, ", ", HumanMagnitude(static_cast<double>(report.parameters)),
                      " parameters, ", ToAbsl(Name(report.options.task)), " on ",
                      DataName(report.training_data.path), ": ", ChangeText(report), " in ",
                      HumanCount(steps), steps == 1 ? " step, " : " steps, ",
                      HumanDuration(report.seconds));
}

ordered_json ToJson(const RunReport& report) {
  ordered_json json = {{"version", BoundedUtf8(report.version, kMaxNameBytes)},
                       {"started", TimeStamp(report.started)},
                       {"seconds", report.seconds},
                       {"ended", Name(report.ended)},
                       {"steps", report.log.steps.size()}};
  if (const EvaluationRecord* const last = report.final_evaluation(); last != nullptr) {
    json["eval_loss"] = last->loss;
    if (last->accuracy) json["eval_accuracy"] = *last->accuracy;
    if (last->margin) json["eval_margin"] = *last->margin;
    json["best_evaluation"] = ToJson(*report.best_evaluation());
  }
  json["step_seconds_p50"] = report.median_step_seconds();
  json["tokens_per_second"] = report.tokens_per_second();
  json["planned_peak_bytes"] = report.planned_peak_bytes;
  json["peak_bytes"] = report.peak_bytes;
  json["activation_peak_bytes"] = report.activation_peak_bytes();
  json["model"] = ModelJson(report);
  json["memory"] = MemoryJson(report.memory);
  json["layers"] = LayersJson(report);
  json["options"] = ToJson(report.options);
  json["data"] = DataJson(report);
  json["log"] = ToJson(report.log);
  return json;
}

}  // namespace whipsnake::engine
