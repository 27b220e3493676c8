#include "engine/finetune/fine_tuning_spec.h"

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/str_join.h"
#include "engine/base/files.h"
#include "engine/base/human.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/finetune/freezing/freezing_option_table.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

// Reads the fields of an object, and remembers their names. Ranges are checked by Validate(), which
// knows how settings depend on one another.
class SpecReader {
 public:
  explicit SpecReader(const json& object) : object_(object), reader_(object) {}

  void Read(const char* key, std::string& value) {
    names_.insert(key);
    value = reader_.Text(key, value);
  }
  void Read(const char* key, bool& value) {
    names_.insert(key);
    value = reader_.Boolean(key, value);
  }
  void Read(const char* key, int64_t& value) {
    names_.insert(key);
    if (!reader_.Has(key)) return;
    const auto number = reader_[key].Integer(std::numeric_limits<int64_t>::min(),
                                             std::numeric_limits<int64_t>::max());
    if (!number.ok()) return reader_.Reject(key, "an integer");
    value = *number;
  }
  void Read(const char* key, uint64_t& value) {
    auto number = static_cast<int64_t>(value);
    Read(key, number);
    if (number < 0) reader_.Update(InvalidField(key, absl::StrCat(number), "an integer from 0"));
    value = static_cast<uint64_t>(number);
  }
  void Read(const char* key, double& value) {
    names_.insert(key);
    if (!reader_.Has(key)) return;
    const json& number = reader_[key].value();
    if (!number.is_number()) return reader_.Reject(key, "a number");
    value = number.get<double>();
  }
  void Read(const char* key, float& value) {
    double number = value;
    Read(key, number);
    value = static_cast<float>(number);
  }
  template <typename Number>
  void Read(const char* key, std::optional<Number>& value) {
    names_.insert(key);
    if (!reader_.Has(key)) return;
    Number number = 0;
    Read(key, number);
    value = number;
  }
  void Read(const char* key, std::vector<std::string>& values) {
    names_.insert(key);
    if (!reader_.Has(key)) return;
    const auto elements = reader_[key].Elements();
    reader_.Update(elements.status());
    if (!elements.ok()) return;
    for (const JsonView& element : *elements) {
      const absl::StatusOr<std::string> text = element.Text();
      reader_.Update(text.status());
      if (text.ok()) values.push_back(*text);
    }
  }
  // Reads a name that parse() knows.
  template <typename Value>
  void Read(const char* key, absl::StatusOr<Value> (*parse)(std::string_view), Value& value) {
    names_.insert(key);
    if (!reader_.Has(key)) return;
    const absl::StatusOr<Value> parsed = parse(reader_.Text(key, ""));
    reader_.Update(parsed.status());
    if (parsed.ok()) value = *parsed;
  }

  void Read(const char* key, std::optional<FreezingUnit>& value) {
    ReadNamed(key, ParseFreezingUnit, value);
  }
  void Read(const char* key, std::optional<LayerScore>& value) {
    ReadNamed(key, ParseLayerScore, value);
  }
  void Read(const char* key, std::optional<BlockOrder>& value) {
    ReadNamed(key, ParseBlockOrder, value);
  }

  // Reads a list of objects with parse().
  template <typename Value>
  void Read(const char* key, absl::StatusOr<Value> (*parse)(const json&),
            std::vector<Value>& values) {
    names_.insert(key);
    if (!reader_.Has(key)) return;
    const json& list = reader_[key].value();
    if (!list.is_array()) return reader_.Reject(key, "a list of objects");
    for (const json& object : list) {
      absl::StatusOr<Value> parsed = parse(object);
      if (!parsed.ok()) return reader_.Update(parsed.status());
      values.push_back(*std::move(parsed));
    }
  }

  // Reads a value with parse().
  template <typename Value>
  void Read(const char* key, absl::StatusOr<Value> (*parse)(const json&), Value& value) {
    names_.insert(key);
    if (!reader_.Has(key)) return;
    const absl::StatusOr<Value> parsed = parse(reader_[key].value());
    reader_.Update(parsed.status());
    if (parsed.ok()) value = *parsed;
  }
  bool Has(const char* key) const { return reader_.Has(key); }

  // Returns the first fault, or names the first key that was not read.
  absl::Status Finish() const {
    RETURN_IF_ERROR(reader_.status());
    for (const auto& [key, value] : object_.items()) {
      if (names_.contains(key)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(key), ": unknown setting; known are ", absl::StrJoin(names_, ", ")));
    }
    return absl::OkStatus();
  }

 private:
  template <typename Value>
  void ReadNamed(const char* key, absl::StatusOr<Value> (*parse)(std::string_view),
                 std::optional<Value>& value) {
    names_.insert(key);
    if (reader_.Has(key)) Read(key, parse, value.emplace());
  }

  const json& object_;
  JsonObjectReader reader_;
  std::set<std::string> names_;
};

absl::StatusOr<kernels::DType> ParseFloatType(std::string_view field, std::string_view name) {
  if (name == "fp32") return kernels::DType::kF32;
  if (name == "bf16") return kernels::DType::kBF16;
  return InvalidField(field, Quoted(name), "fp32 or bf16");
}

absl::StatusOr<kernels::DType> ParsePrecision(std::string_view name) {
  return ParseFloatType("precision", name);
}

absl::StatusOr<kernels::DType> ParseOutType(std::string_view name) {
  return ParseFloatType("out_type", name);
}

absl::StatusOr<ParameterGroup> ParseGroup(const json& object) {
  if (!object.is_object()) return InvalidField("groups", Described(object), "a list of objects");
  SpecReader in(object);
  ParameterGroup group;
  in.Read("pattern", group.pattern);
  in.Read("lr_factor", group.learning_rate_factor);
  in.Read("weight_decay", group.weight_decay);
  const absl::Status status = in.Finish();
  if (!status.ok()) return WithContext(status, "groups");
  return group;
}

void ReadOptimizer(SpecReader& in, OptimizerOptions& optimizer) {
  in.Read("optimizer", ParseOptimizerKind, optimizer.kind);
  in.Read("beta1", optimizer.beta1);
  in.Read("beta2", optimizer.beta2);
  in.Read("adam_epsilon", optimizer.epsilon);
  in.Read("momentum", optimizer.momentum);
  in.Read("weight_decay", optimizer.weight_decay);
  in.Read("moments", ParseMomentKind, optimizer.moments);
  in.Read("crrelu_epsilon_factor", optimizer.crrelu_epsilon_factor);
  in.Read("groups", ParseGroup, optimizer.groups);
}

// What is not given has the values of the recipe.
absl::Status ReadFreezing(SpecReader& in, TrainingOptions& training) {
  FreezingSettings settings;
  in.Read("scheduler", ParseSchedulerKind, settings.scheduler);
  in.Read("recipe", ParseFreezingRecipe, settings.recipe);
  ForEachFreezingOption(
      [&](const char* key, SchedulerSet, auto setting, auto) { in.Read(key, settings.*setting); });
  training.compression = DefaultCompression(settings.scheduler, settings.recipe);
  in.Read("compression", ParseCompression, training.compression);
  ASSIGN_OR_RETURN(training.freezing, Resolve(settings));
  return absl::OkStatus();
}

void ReadTraining(SpecReader& in, TrainingOptions& training) {
  in.Read("task", ParseTask, training.task);
  in.Read("label_smoothing", training.objective.label_smoothing);
  in.Read("dpo_beta", training.objective.dpo_beta);
  ReadOptimizer(in, training.optimizer);
  in.Read("lr", training.learning_rate);
  in.Read("schedule", ParseSchedule, training.schedule);
  in.Read("warmup", training.warmup);
  in.Read("epochs", training.epochs);
  in.Read("max_steps", training.max_steps);
  in.Read("batch", training.batch_size);
  in.Read("micro_batch", training.micro_batch);
  in.Read("update_in_backward", training.update_in_backward);
  if (training.update_in_backward) training.max_gradient_norm = 0;  // the only one that is possible
  in.Read("max_gradient_norm", training.max_gradient_norm);
  in.Read("checkpointing", training.gradient_checkpointing);
  in.Read("freeze", training.freeze);
  in.Read("precision", ParsePrecision, training.arithmetic);
  in.Read("dropout", training.dropout);
  in.Read("seed", training.seed);
  in.Read("evaluate_every", training.evaluate_every);
  in.Read("patience", training.patience);
  in.Read("checkpoint_every", training.checkpoint_every);
}

absl::StatusOr<int64_t> ParseBudget(const json& budget) {
  if (budget.is_string()) return ParseBytes("memory_budget", budget.get<std::string>());
  if (budget.is_number_integer() && budget.get<int64_t>() >= 0) return budget.get<int64_t>();
  return InvalidField("memory_budget", Described(budget), "a number of bytes, or a text like 2GB");
}

// The budget, and which of the settings that it would change are given.
void ReadBudget(SpecReader& in, FineTuningSpec& spec) {
  in.Read("memory_budget", ParseBudget, spec.memory_budget);
  spec.given = {.scheduler = in.Has("scheduler"),
                .rate = in.Has("freezing_rate"),
                .compression = in.Has("compression"),
                .checkpointing = in.Has("checkpointing"),
                .moments = in.Has("moments"),
                .update_in_backward = in.Has("update_in_backward")};
}

void ReadFiles(SpecReader& in, FineTuningSpec& spec) {
  in.Read("model", spec.model);
  in.Read("train", spec.training_file);
  in.Read("eval", spec.evaluation_file);
  in.Read("out", spec.out);
  in.Read("checkpoints", spec.checkpoints);
  in.Read("keep_checkpoints", spec.keep_checkpoints);
  in.Read("resume", spec.resume);
  in.Read("out_type", ParseOutType, spec.out_dtype);
  in.Read("max_length", spec.max_length);
  in.Read("packed", spec.packed);
  in.Read("header", spec.training_columns.header);
  in.Read("label_column", spec.training_columns.label_column);
  spec.evaluation_columns = spec.training_columns;
}

// Returns NOT_FOUND, naming the field, unless the directory can be made.
absl::Status CheckParent(std::string_view field, const std::string& directory) {
  std::error_code error;
  const std::string parent = ParentOf(StripTrailingSlashes(directory));
  if (std::filesystem::is_directory(parent, error)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(ToAbsl(field), ": ", directory,
                                          " seen, expected a path in a directory that exists; ",
                                          parent, " does not"));
}

}  // namespace

std::string FineTuningSpec::checkpoint_directory() const {
  return checkpoints.empty() ? StripTrailingSlashes(out) + ".checkpoints" : checkpoints;
}

absl::StatusOr<FineTuningSpec> ParseFineTuningSpec(const json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("a JSON object is expected");
  FineTuningSpec spec;
  SpecReader in(object);
  ReadFiles(in, spec);
  ReadBudget(in, spec);
  ReadTraining(in, spec.training);
  const absl::Status freezing = ReadFreezing(in, spec.training);
  RETURN_IF_ERROR(in.Finish());
  RETURN_IF_ERROR(freezing);
  for (const auto& [key, value] : {std::pair<const char*, const std::string&>("model", spec.model),
                                   {"train", spec.training_file}}) {
    if (value.empty()) return InvalidField(key, "nothing", "a path");
  }
  if (spec.keep_checkpoints < 1) {
    return InvalidField("keep_checkpoints", absl::StrCat(spec.keep_checkpoints), "at least 1");
  }
  if (spec.max_length < 0 || spec.max_length == 1) {
    return InvalidField("max_length", absl::StrCat(spec.max_length),
                        "at least 2 tokens, or 0 for the model's");
  }
  RETURN_IF_ERROR(Validate(spec.training));
  if (spec.training.optimizer.moments == MomentKind::kDrop &&
      spec.training.freezing.scheduler == SchedulerKind::kFull) {
    return InvalidField("moments", "drop",
                        "keep or 8bit with scheduler full: no tensor is frozen again");
  }
  if (spec.training.patience > 0 && spec.evaluation_file.empty()) {
    return InvalidField("patience", absl::StrCat(spec.training.patience),
                        "0 without eval, as patience is for evaluations");
  }
  return spec;
}

absl::Status CheckOut(const FineTuningSpec& spec) {
  std::error_code error;
  const std::filesystem::path out(spec.out);
  if (spec.out.empty()) return InvalidField("out", "nothing", "a directory to write");
  const auto state = std::filesystem::status(out, error);
  if (std::filesystem::exists(state) &&
      !(std::filesystem::is_directory(state) && std::filesystem::is_empty(out, error))) {
    return absl::AlreadyExistsError(
        absl::StrCat("out: ", spec.out, " exists, expected a new or empty directory"));
  }
  RETURN_IF_ERROR(CheckParent("out", spec.out));
  return CheckParent("checkpoints", spec.checkpoint_directory());
}

}  // namespace whipsnake::engine
