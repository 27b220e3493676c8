// Rows that are JSON objects.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/field_errors.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/finetune/data/row.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

absl::Status InvalidValue(const JsonView& field, std::string_view expected) {
  return InvalidField(field.path(), field.is_null() ? "nothing" : Described(field.value()),
                      expected);
}

absl::StatusOr<std::string> TextOf(const JsonView& field) {
  if (!field.value().is_string()) return InvalidValue(field, "a string");
  return field.value().get<std::string>();
}

absl::StatusOr<std::string> LabelOf(const JsonView& field) {
  if (field.value().is_string()) return field.value().get<std::string>();
  const auto integer =
      field.Integer(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  if (!integer.ok()) return InvalidValue(field, "a string or an integer");
  return absl::StrCat(*integer);
}

absl::StatusOr<float> ValueOf(const JsonView& field) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const absl::StatusOr<double> number = field.Number(-kLargest, kLargest);
  if (!number.ok()) return InvalidValue(field, "a number within the range of fp32");
  return static_cast<float>(*number);
}

absl::StatusOr<std::vector<std::string>> ChoicesOf(const JsonView& field) {
  const auto elements = field.Elements();
  if (!elements.ok() || elements->size() < 2) {
    return InvalidValue(field, "an array of two or more strings");
  }
  std::vector<std::string> choices;
  for (const JsonView& element : *elements) {
    ASSIGN_OR_RETURN(std::string choice, TextOf(element));
    choices.push_back(std::move(choice));
  }
  return choices;
}

class JsonRowParser : public RowParser {
 public:
  JsonRowParser(Task task, std::string label) : task_(task), label_(std::move(label)) {
    fields_ = {std::string(InputField(task_))};
    if (task_ == Task::kChoice) fields_.push_back("choices");
    if (task_ == Task::kDpo) {
      fields_.push_back("chosen");
      fields_.push_back("rejected");
    } else if (task_ != Task::kCausalLm) {
      fields_.push_back(label_);
    }
  }

  absl::StatusOr<Row> Parse(std::string_view text) const override {
    const absl::StatusOr<json> parsed = ParseJsonObject(text);
    if (!parsed.ok()) return WithField(parsed.status());
    const JsonView object(&*parsed);
    Row row;
    ASSIGN_OR_RETURN(row.input, TextOf(object[fields_.front().c_str()]));
    RETURN_IF_ERROR(ReadTarget(object, &row));
    for (const auto& [key, value] : parsed->items()) {
      if (std::ranges::find(fields_, key) == fields_.end()) row.ignored.push_back(key);
    }
    return row;
  }

 private:
  // Attaches the field "row" to the error of a row as a whole.
  static absl::Status WithField(const absl::Status& status) {
    return InvalidFields({{"row", absl::StrCat("row: ", status.message())}});
  }

  absl::Status ReadTarget(const JsonView& object, Row* row) const {
    const JsonView label = object[label_.c_str()];
    switch (task_) {
      case Task::kCausalLm:
        break;
      case Task::kClassification: {
        ASSIGN_OR_RETURN(row->label, LabelOf(label));
        break;
      }
      case Task::kRegression: {
        ASSIGN_OR_RETURN(row->value, ValueOf(label));
        break;
      }
      case Task::kChoice: {
        ASSIGN_OR_RETURN(row->responses, ChoicesOf(object["choices"]));
        const int64_t last = std::ssize(row->responses) - 1;
        const auto choice = label.Integer(0, last);
        if (!choice.ok()) {
          return InvalidValue(label, absl::StrCat("an index of choices, from 0 to ", last));
        }
        row->choice = static_cast<int32_t>(*choice);
        break;
      }
      case Task::kDpo: {
        ASSIGN_OR_RETURN(std::string chosen, TextOf(object["chosen"]));
        ASSIGN_OR_RETURN(std::string rejected, TextOf(object["rejected"]));
        row->responses = {std::move(chosen), std::move(rejected)};
        break;
      }
    }
    return absl::OkStatus();
  }

  const Task task_;
  const std::string label_;
  std::vector<std::string> fields_;  // that the task uses, the input first
};

}  // namespace

std::unique_ptr<RowParser> MakeJsonRowParser(Task task, std::string label) {
  return std::make_unique<JsonRowParser>(task, std::move(label));
}

}  // namespace whipsnake::engine
