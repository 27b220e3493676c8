// Rows of comma-separated values.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/finetune/data/csv.h"
#include "engine/finetune/data/row.h"

namespace whipsnake::engine {
namespace {

// Which columns hold what.
struct ColumnPlan {
  std::vector<std::string> names;
  std::vector<size_t> input;      // joined by spaces
  std::vector<size_t> responses;  // one each
  std::optional<size_t> label;
};

std::optional<size_t> FindColumn(const std::vector<std::string>& names, std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return found - names.begin();
}

absl::Status MissingColumn(const std::vector<std::string>& names, std::string_view name) {
  return InvalidField("columns", Quoted(absl::StrJoin(names, ",")),
                      absl::StrCat("one of them to be ", Quoted(name)));
}

absl::Status PlanPair(ColumnPlan* plan) {
  std::vector<size_t> columns = {0, 1, 2};
  if (plan->names != NumberedColumns(3)) {
    columns.clear();
    for (const std::string_view name : {"prompt", "chosen", "rejected"}) {
      const auto column = FindColumn(plan->names, name);
      if (!column) return MissingColumn(plan->names, name);
      columns.push_back(*column);
    }
  }
  plan->input = {columns[0]};
  plan->responses = {columns[1], columns[2]};
  return absl::OkStatus();
}

absl::Status PlanLabel(std::string_view label, ColumnPlan* plan) {
  plan->label = FindColumn(plan->names, label.empty() ? "label" : label);
  if (plan->label) return absl::OkStatus();
  if (!label.empty()) return MissingColumn(plan->names, label);
  plan->label = plan->names.size() - 1;
  return absl::OkStatus();
}

absl::Status PlanText(ColumnPlan* plan) {
  const auto text = FindColumn(plan->names, "text");
  if (text && text != plan->label) {
    plan->input = {*text};
    return absl::OkStatus();
  }
  for (size_t i = 0; i < plan->names.size(); ++i) {
    if (i != plan->label) plan->input.push_back(i);
  }
  return plan->input.empty() ? MissingColumn(plan->names, "text") : absl::OkStatus();
}

absl::Status CheckNames(const std::vector<std::string>& names) {
  constexpr size_t kMaxNameBytes = 256;  // messages contain names
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    if (name.size() > kMaxNameBytes) {
      return InvalidField("columns", Quoted(name),
                          absl::StrCat("at most ", kMaxNameBytes, " bytes"));
    }
    if (!seen.insert(name).second) {
      return InvalidField("columns", absl::StrCat("two columns ", Quoted(name)),
                          "a header line of different names, or no header");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ColumnPlan> PlanColumns(Task task, std::vector<std::string> names,
                                       std::string_view label) {
  if (task == Task::kChoice) {
    return InvalidField("format", "csv", "json-lines, because a choice has a list of choices");
  }
  RETURN_IF_ERROR(CheckNames(names));
  ColumnPlan plan;
  plan.names = std::move(names);
  if (task == Task::kDpo) {
    RETURN_IF_ERROR(PlanPair(&plan));
    return plan;
  }
  if (task != Task::kCausalLm) RETURN_IF_ERROR(PlanLabel(label, &plan));
  RETURN_IF_ERROR(PlanText(&plan));
  return plan;
}

absl::StatusOr<float> ParseValue(std::string_view column, const std::string& text) {
  float value = 0;
  if (absl::SimpleAtof(text, &value) && std::isfinite(value)) return value;
  return InvalidField(column, Quoted(text), "a number within the range of fp32");
}

class CsvRowParser : public RowParser {
 public:
  CsvRowParser(Task task, ColumnPlan plan) : task_(task), plan_(std::move(plan)) {
    std::set<size_t> used(plan_.input.begin(), plan_.input.end());
    used.insert(plan_.responses.begin(), plan_.responses.end());
    if (plan_.label) used.insert(*plan_.label);
    for (size_t i = 0; i < plan_.names.size(); ++i) {
      if (!used.contains(i)) ignored_.push_back(plan_.names[i]);
    }
  }

  absl::StatusOr<Row> Parse(std::string_view text) const override {
    ASSIGN_OR_RETURN(std::vector<std::string> fields, ParseCsvRow(text));
    if (fields.size() != plan_.names.size()) {
      return InvalidField("row", absl::StrCat(fields.size(), " columns"),
                          absl::StrCat(plan_.names.size()));
    }
    Row row;
    row.ignored = ignored_;
    if (plan_.label) RETURN_IF_ERROR(ReadLabel(fields[*plan_.label], &row));
    for (const size_t column : plan_.responses) row.responses.push_back(std::move(fields[column]));
    row.input = absl::StrJoin(
        plan_.input, " ", [&](std::string* out, size_t column) { out->append(fields[column]); });
    return row;
  }

 private:
  absl::Status ReadLabel(const std::string& field, Row* row) const {
    if (task_ == Task::kRegression) {
      ASSIGN_OR_RETURN(row->value, ParseValue(plan_.names[*plan_.label], field));
    } else {
      row->label = field;
    }
    return absl::OkStatus();
  }

  const Task task_;
  const ColumnPlan plan_;
  std::vector<std::string> ignored_;
};

}  // namespace

std::vector<std::string> NumberedColumns(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 1; i <= count; ++i) names.push_back(absl::StrCat("column ", i));
  return names;
}

absl::StatusOr<std::unique_ptr<RowParser>> MakeCsvRowParser(Task task,
                                                            std::vector<std::string> columns,
                                                            std::string_view label) {
  ASSIGN_OR_RETURN(ColumnPlan plan, PlanColumns(task, std::move(columns), label));
  return std::make_unique<CsvRowParser>(task, std::move(plan));
}

}  // namespace whipsnake::engine
