#include "engine/base/json_reader.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/json.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

const json& Missing() {
  static const json missing;
  return missing;
}

}  // namespace

bool JsonView::is_null() const { return value_->is_null(); }

JsonView JsonView::operator[](const char* key) const {
  const json* field = &Missing();
  if (value_->is_object()) {
    if (const auto found = value_->find(key); found != value_->end()) field = &*found;
  }
  return JsonView(field, path_.empty() ? key : absl::StrCat(path_, ".", key));
}

absl::StatusOr<int64_t> JsonView::Integer(int64_t minimum, int64_t maximum) const {
  // The library stores a value beyond int64 as uint64, and one beyond uint64 as a float.
  if (value_->is_number_integer() &&
      !(value_->is_number_unsigned() &&
        value_->get<uint64_t>() > std::numeric_limits<int64_t>::max())) {
    const int64_t integer = value_->get<int64_t>();
    if (minimum <= integer && integer <= maximum) return integer;
  }
  return Invalid(absl::StrCat("an integer from ", minimum, " to ", maximum));
}

absl::StatusOr<double> JsonView::Number(double minimum, double maximum, bool above_minimum) const {
  if (value_->is_number()) {
    const double number = value_->get<double>();
    // Compare as a float too, because the caller may convert the value to float.
    const bool above = above_minimum ? minimum < number && minimum < static_cast<float>(number)
                                     : minimum <= number;
    if (number <= maximum && above) return number;
  }
  return Invalid(absl::StrCat("a number ", above_minimum ? "above " : "from ", minimum,
                              above_minimum ? " and at most " : " to ", maximum));
}

absl::StatusOr<bool> JsonView::Boolean() const {
  if (!value_->is_boolean()) return Invalid("true or false");
  return value_->get<bool>();
}

absl::StatusOr<bool> JsonView::BooleanOr(bool otherwise) const {
  if (is_null()) return otherwise;
  return Boolean();
}

absl::StatusOr<std::string> JsonView::Text() const {
  if (!value_->is_string()) return Invalid("a string");
  return value_->get<std::string>();
}

absl::StatusOr<std::vector<JsonView>> JsonView::Elements() const {
  if (!value_->is_array()) return Invalid("an array");
  std::vector<JsonView> elements;
  elements.reserve(value_->size());
  for (const json& element : *value_) {
    elements.emplace_back(&element, absl::StrCat(path_, "[", elements.size(), "]"));
  }
  return elements;
}

absl::StatusOr<std::string> JsonView::Type() const {
  if (!value_->is_object()) return Invalid("an object with a \"type\"");
  return (*this)["type"].Text();
}

bool JsonView::IsText(std::string_view text) const {
  return value_->is_string() && value_->get_ref<const std::string&>() == text;
}

bool JsonView::ListContains(std::string_view text) const {
  return value_->is_array() && std::ranges::find(*value_, json(text)) != value_->end();
}

absl::Status JsonView::Invalid(std::string_view expected) const {
  const std::string seen = value_ == &Missing() ? "nothing" : Described(*value_);
  return absl::InvalidArgumentError(
      absl::StrCat(path_, path_.empty() ? "" : ": ", seen, " seen, expected ", ToAbsl(expected)));
}

absl::Status JsonView::Unsupported(std::string_view kind, std::string_view type,
                                   std::string_view supported) const {
  return absl::UnimplementedError(absl::StrCat(path_, ": ", ToAbsl(kind), " ", Quoted(type),
                                               " is not supported, expected ", ToAbsl(supported)));
}

template <typename T>
T JsonObjectReader::ValueOr(const absl::StatusOr<T>& value, T otherwise) {
  if (value.ok()) return *value;
  Update(value.status());
  return otherwise;
}

int64_t JsonObjectReader::Integer(const char* key, int64_t otherwise, int64_t minimum,
                                  int64_t maximum) {
  const JsonView field = object_[key];
  return field.is_null() ? otherwise : ValueOr(field.Integer(minimum, maximum), otherwise);
}

double JsonObjectReader::Number(const char* key, double otherwise, double minimum, double maximum,
                                bool above_minimum) {
  const JsonView field = object_[key];
  if (field.is_null()) return otherwise;
  return ValueOr(field.Number(minimum, maximum, above_minimum), otherwise);
}

bool JsonObjectReader::Boolean(const char* key, bool otherwise) {
  return ValueOr(object_[key].BooleanOr(otherwise), otherwise);
}

std::string JsonObjectReader::Text(const char* key, std::string otherwise) {
  const JsonView field = object_[key];
  return field.is_null() ? otherwise : ValueOr(field.Text(), std::move(otherwise));
}

JsonView JsonObjectReader::Object(const char* key) {
  const JsonView field = object_[key];
  if (!field.is_null() && !field.value().is_object()) Reject(key, "an object");
  return field;
}

size_t JsonObjectReader::Count(const char* key) const {
  const JsonView field = object_[key];
  return field.value().is_array() ? field.value().size() : 0;
}

void JsonObjectReader::Reject(const char* key, std::string_view expected) {
  Update(object_[key].Invalid(expected));
}

void JsonObjectReader::Update(const absl::Status& status) { status_.Update(status); }

}  // namespace whipsnake::engine
