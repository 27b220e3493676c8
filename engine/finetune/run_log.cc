#include "engine/finetune/run_log.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using ClassBytes = std::array<int64_t, kTensorClassCount>;

constexpr int64_t kMaxLayers = 1'000'000;

void SetIfAny(json& object, const char* key, const std::optional<double>& value) {
  if (value) object[key] = *value;
}

// Reads the members of an object, and remembers the first that is missing or not a number.
class NumberReader {
 public:
  explicit NumberReader(const json& object) : object_(object) {}

  template <typename Number>
  void Read(const char* key, Number& value) {
    const auto found = object_.find(key);
    if (found != object_.end() && found->is_number()) {
      value = found->get<Number>();
    } else if (status_.ok()) {
      status_ = InvalidField(key, found == object_.end() ? "nothing" : found->dump(), "a number");
    }
  }
  void ReadIfAny(const char* key, std::optional<double>& value) {
    if (object_.contains(key)) Read(key, value.emplace());
  }
  const absl::Status& status() const { return status_; }

 private:
  const json& object_;
  absl::Status status_;
};

std::string LayersText(const std::vector<bool>& active) {
  std::vector<int64_t> runs = {0};
  bool is_active = false;
  for (const bool next : active) {
    if (next != is_active) runs.push_back(0);
    is_active = next;
    ++runs.back();
  }
  return absl::StrJoin(runs, ",");
}

absl::StatusOr<ClassBytes> ParseClassBytes(const json& object) {
  if (!object.is_object()) return InvalidField("class_bytes", object.dump(), "an object");
  ClassBytes bytes{};
  NumberReader reader(object);
  for (int i = 0; i < kTensorClassCount; ++i) {
    const std::string name(Name(static_cast<TensorClass>(i)));
    if (object.contains(name)) reader.Read(name.c_str(), bytes[i]);
  }
  RETURN_IF_ERROR(reader.status());
  return bytes;
}

// `before` has what the step shares with the one before it.
absl::StatusOr<StepRecord> ParseStep(const json& object, const StepRecord& before) {
  StepRecord record{.active = before.active, .class_bytes = before.class_bytes};
  NumberReader reader(object);
  reader.Read("step", record.step);
  reader.Read("epoch", record.epoch);
  reader.Read("loss", record.loss);
  reader.ReadIfAny("accuracy", record.accuracy);
  reader.ReadIfAny("margin", record.margin);
  reader.Read("learning_rate", record.learning_rate);
  reader.ReadIfAny("gradient_norm", record.gradient_norm);
  if (object.contains("examples")) reader.Read("examples", record.examples);
  reader.Read("tokens", record.tokens);
  reader.Read("heap_bytes", record.heap_bytes);
  reader.Read("moment_bytes", record.moment_bytes);
  reader.Read("seconds", record.seconds);
  RETURN_IF_ERROR(reader.status());
  if (const auto active = object.find("active"); active != object.end()) {
    ASSIGN_OR_RETURN(record.active, ParseActiveLayers(*active));
  }
  if (const auto bytes = object.find("class_bytes"); bytes != object.end()) {
    ASSIGN_OR_RETURN(record.class_bytes, ParseClassBytes(*bytes));
  }
  return record;
}

absl::StatusOr<EvaluationRecord> ParseEvaluation(const json& object) {
  EvaluationRecord record;
  NumberReader reader(object);
  reader.Read("step", record.step);
  reader.Read("loss", record.loss);
  reader.ReadIfAny("accuracy", record.accuracy);
  reader.ReadIfAny("margin", record.margin);
  reader.Read("targets", record.targets);
  reader.Read("seconds", record.seconds);
  RETURN_IF_ERROR(reader.status());
  return record;
}

absl::StatusOr<const json*> FindList(const json& log, const char* key) {
  if (log.is_object() && log.contains(key) && log[key].is_array()) return &log[key];
  return absl::InvalidArgumentError(absl::StrCat(key, ": no list seen, expected one"));
}

json StepsToJson(const std::vector<StepRecord>& steps) {
  const StepRecord none;
  const StepRecord* before = &none;
  json list = json::array();
  for (const StepRecord& step : steps) {
    json& object = list.emplace_back(ToJson(step));
    if (step.active == before->active) object.erase("active");
    if (step.class_bytes == before->class_bytes) object.erase("class_bytes");
    before = &step;
  }
  return list;
}

}  // namespace

int64_t RunLog::BestEvaluation() const {
  int64_t best = -1;
  for (int64_t i = 0; i < std::ssize(evaluations); ++i) {
    if (best < 0 || evaluations[i].loss < evaluations[best].loss) best = i;
  }
  return best;
}

absl::StatusOr<std::vector<bool>> ParseActiveLayers(const json& text) {
  const auto invalid = [&] {
    return InvalidField("active", text.dump(), "a text of the lengths of runs of layers");
  };
  if (!text.is_string()) return invalid();
  std::vector<bool> active;
  bool is_active = false;
  for (const absl::string_view run : absl::StrSplit(text.get_ref<const std::string&>(), ',')) {
    int64_t length = 0;
    if (!absl::SimpleAtoi(run, &length)) return invalid();
    if (length < 0 || length > kMaxLayers - std::ssize(active)) return invalid();
    active.insert(active.end(), length, is_active);
    is_active = !is_active;
  }
  return active;
}

json ClassBytesToJson(const ClassBytes& class_bytes) {
  json object = json::object();
  for (int i = 0; i < kTensorClassCount; ++i) {
    if (class_bytes[i] == 0) continue;
    object[std::string(Name(static_cast<TensorClass>(i)))] = class_bytes[i];
  }
  return object;
}

json ToJson(const StepRecord& record) {
  json object = {{"step", record.step},
                 {"epoch", record.epoch},
                 {"loss", record.loss},
                 {"learning_rate", record.learning_rate},
                 {"examples", record.examples},
                 {"tokens", record.tokens},
                 {"heap_bytes", record.heap_bytes},
                 {"moment_bytes", record.moment_bytes},
                 {"class_bytes", ClassBytesToJson(record.class_bytes)},
                 {"seconds", record.seconds}};
  if (!record.active.empty()) object["active"] = LayersText(record.active);
  SetIfAny(object, "accuracy", record.accuracy);
  SetIfAny(object, "margin", record.margin);
  SetIfAny(object, "gradient_norm", record.gradient_norm);
  return object;
}

json ToJson(const EvaluationRecord& record) {
  json object = {{"step", record.step},
                 {"loss", record.loss},
                 {"targets", record.targets},
                 {"seconds", record.seconds}};
  SetIfAny(object, "accuracy", record.accuracy);
  SetIfAny(object, "margin", record.margin);
  return object;
}

json ToJson(const RunLog& log) {
  json evaluations = json::array();
  for (const EvaluationRecord& record : log.evaluations) evaluations.push_back(ToJson(record));
  return {{"steps", StepsToJson(log.steps)}, {"evaluations", std::move(evaluations)}};
}

absl::StatusOr<RunLog> ParseRunLog(const json& log) {
  RunLog parsed;
  ASSIGN_OR_RETURN(const json* const steps, FindList(log, "steps"));
  for (const json& step : *steps) {
    const StepRecord& before = parsed.steps.empty() ? StepRecord() : parsed.steps.back();
    ASSIGN_OR_RETURN(StepRecord record, ParseStep(step, before));
    parsed.steps.push_back(std::move(record));
  }
  ASSIGN_OR_RETURN(const json* const evaluations, FindList(log, "evaluations"));
  for (const json& evaluation : *evaluations) {
    ASSIGN_OR_RETURN(parsed.evaluations.emplace_back(), ParseEvaluation(evaluation));
  }
  return parsed;
}

}  // namespace whipsnake::engine
