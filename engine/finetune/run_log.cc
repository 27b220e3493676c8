#include "engine/finetune/run_log.h"

#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

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

// The layers that trained, as one digit each: "0010".
std::string LayersText(const std::vector<bool>& active) {
  std::string text;
  for (const bool is_active : active) text += is_active ? '1' : '0';
  return text;
}

absl::Status ParseLayers(const json& object, std::vector<bool>& active) {
  const json text = object.value("active", json(""));
  if (!text.is_string()) return InvalidField("active", text.dump(), "a text of 0 and 1");
  for (const char digit : text.get<std::string>()) active.push_back(digit == '1');
  return absl::OkStatus();
}

// By name, without the classes of which there was no tensor.
json ClassBytesToJson(const std::array<int64_t, kTensorClassCount>& class_bytes) {
  json object = json::object();
  for (int i = 0; i < kTensorClassCount; ++i) {
    if (class_bytes[i] > 0) {
      object[std::string(Name(static_cast<TensorClass>(i)))] = class_bytes[i];
    }
  }
  return object;
}

absl::Status ParseClassBytes(const json& object,
                             std::array<int64_t, kTensorClassCount>& class_bytes) {
  const auto found = object.find("class_bytes");
  if (found == object.end() || !found->is_object()) {
    return InvalidField("class_bytes", "nothing", "an object");
  }
  NumberReader reader(*found);
  for (int i = 0; i < kTensorClassCount; ++i) {
    const std::string name(Name(static_cast<TensorClass>(i)));
    if (found->contains(name)) reader.Read(name.c_str(), class_bytes[i]);
  }
  return reader.status();
}

absl::StatusOr<StepRecord> ParseStep(const json& object) {
  StepRecord record;
  NumberReader reader(object);
  reader.Read("step", record.step);
  reader.Read("epoch", record.epoch);
  reader.Read("loss", record.loss);
  reader.ReadIfAny("accuracy", record.accuracy);
  reader.ReadIfAny("margin", record.margin);
  reader.Read("learning_rate", record.learning_rate);
  reader.ReadIfAny("gradient_norm", record.gradient_norm);
  reader.Read("tokens", record.tokens);
  reader.Read("heap_bytes", record.heap_bytes);
  reader.Read("seconds", record.seconds);
  RETURN_IF_ERROR(reader.status());
  RETURN_IF_ERROR(ParseLayers(object, record.active));
  RETURN_IF_ERROR(ParseClassBytes(object, record.class_bytes));
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

template <typename Record>
absl::Status ParseList(const json& log, const char* key,
                       absl::StatusOr<Record> (*parse)(const json&), std::vector<Record>& records) {
  if (!log.is_object() || !log.contains(key) || !log[key].is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": no list seen, expected one"));
  }
  for (const json& item : log[key]) {
    ASSIGN_OR_RETURN(records.emplace_back(), parse(item));
  }
  return absl::OkStatus();
}

template <typename Record>
json ToJsonList(const std::vector<Record>& records) {
  json list = json::array();
  for (const Record& record : records) list.push_back(ToJson(record));
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

json ToJson(const StepRecord& record) {
  json object = {{"step", record.step},
                 {"epoch", record.epoch},
                 {"loss", record.loss},
                 {"learning_rate", record.learning_rate},
                 {"tokens", record.tokens},
                 {"heap_bytes", record.heap_bytes},
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
  return {{"steps", ToJsonList(log.steps)}, {"evaluations", ToJsonList(log.evaluations)}};
}

absl::StatusOr<RunLog> ParseRunLog(const json& log) {
  RunLog parsed;
  RETURN_IF_ERROR(ParseList<StepRecord>(log, "steps", ParseStep, parsed.steps));
  RETURN_IF_ERROR(
      ParseList<EvaluationRecord>(log, "evaluations", ParseEvaluation, parsed.evaluations));
  return parsed;
}

}  // namespace whipsnake::engine
