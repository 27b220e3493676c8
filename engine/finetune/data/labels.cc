#include "engine/finetune/data/labels.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Returns the value of an integer in its shortest form ("7", "-7", but not "07" or "+7").
std::optional<int64_t> IntegerOf(std::string_view text) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(ToAbsl(text), &value) || text != absl::StrCat(value)) return std::nullopt;
  return value;
}

bool IsInteger(std::string_view text) { return IntegerOf(text).has_value(); }

}  // namespace

absl::StatusOr<Labels> Labels::Make(std::vector<std::string> names) {
  if (std::ssize(names) > kMaxLabels) {
    return InvalidField("labels", absl::StrCat(names.size(), " labels"),
                        absl::StrCat("at most ", kMaxLabels));
  }
  Labels labels;
  for (const std::string& name : names) {
    if (!labels.index_.emplace(name, labels.index_.size()).second) {
      return InvalidField("labels", absl::StrCat("two labels ", Quoted(name)), "distinct names");
    }
  }
  labels.accepts_indices_ = std::ranges::none_of(names, IsInteger);
  labels.names_ = std::move(names);
  return labels;
}

std::optional<int32_t> Labels::Find(std::string_view name) const {
  if (const auto found = index_.find(ToAbsl(name)); found != index_.end()) return found->second;
  const std::optional<int64_t> integer = IntegerOf(name);
  if (!accepts_indices_ || !integer || *integer < 0 || *integer >= size()) return std::nullopt;
  return static_cast<int32_t>(*integer);
}

std::string Labels::Listed() const {
  constexpr int64_t kListed = 20;
  std::string list;
  for (int64_t i = 0; i < std::min(size(), kListed); ++i) {
    absl::StrAppend(&list, i == 0 ? "" : ", ", Quoted(names_[i]));
  }
  if (size() > kListed) absl::StrAppend(&list, ", ... (", size(), " labels)");
  return list;
}

absl::StatusOr<Labels> ReadLabels(const nlohmann::json& config) {
  const JsonView field = JsonView(&config)["id2label"];
  if (field.is_null()) return Labels();
  if (!field.value().is_object()) return field.Invalid("an object of names by index");
  std::vector<std::string> names;
  for (size_t i = 0; i < field.value().size(); ++i) {
    ASSIGN_OR_RETURN(std::string name, field[absl::StrCat(i).c_str()].Text());
    names.push_back(std::move(name));
  }
  return Labels::Make(std::move(names));
}

absl::StatusOr<int32_t> LabelCollector::Number(const std::string& name) {
  if (name.empty() || std::ssize(name) > kMaxLabelBytes) {
    return InvalidField("label", Quoted(name),
                        absl::StrCat("a label of 1 to ", kMaxLabelBytes, " bytes"));
  }
  if (const auto found = numbers_.find(name); found != numbers_.end()) return found->second;
  const auto number = static_cast<int32_t>(numbers_.size());
  if (number == kMaxLabels) {
    return InvalidField("label", absl::StrCat(Quoted(name), " after ", kMaxLabels, " other labels"),
                        absl::StrCat("at most ", kMaxLabels, " labels"));
  }
  numbers_.emplace(name, number);
  return number;
}

Labels LabelCollector::Sorted(std::vector<int32_t>* new_numbers) const {
  std::vector<std::string> names;
  for (const auto& [name, number] : numbers_) names.push_back(name);
  if (std::ranges::all_of(names, IsInteger)) {
    std::ranges::sort(names, {}, [](const std::string& name) { return *IntegerOf(name); });
  } else {
    std::ranges::sort(names);
  }
  new_numbers->resize(names.size());
  for (size_t i = 0; i < names.size(); ++i) new_numbers->at(numbers_.at(names[i])) = i;
  return *Labels::Make(std::move(names));  // they are distinct and few enough
}

}  // namespace whipsnake::engine
