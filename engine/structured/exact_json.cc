#include "engine/structured/exact_json.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/structured/decimal.h"

namespace whipsnake::engine {
namespace {

// Builds the document from the parser's events, of a text that FindJsonFault has accepted.
class ExactJsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit ExactJsonBuilder(ExactJson* root) : root_(root) {}

  bool too_many_keys() const { return too_many_keys_; }

  bool null() override { return Add({}); }
  bool boolean(bool value) override { return Add(ExactJson::Boolean(value)); }
  bool number_integer(int64_t value) override { return AddNumber(std::to_string(value)); }
  bool number_unsigned(uint64_t value) override { return AddNumber(std::to_string(value)); }
  bool number_float(double, const std::string& text) override { return AddNumber(text); }
  bool string(std::string& text) override {
    return Add({.kind = JsonKind::kString, .text = std::move(text)});
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(JsonKind::kObject); }
  bool start_array(size_t) override { return Open(JsonKind::kArray); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(std::string& name) override {
    open_.back()->keys.push_back(std::move(name));
    too_many_keys_ = open_.back()->keys.size() > ExactJson::kMaxKeys;
    return !too_many_keys_;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  bool Add(ExactJson value) {
    if (open_.empty()) {
      *root_ = std::move(value);
    } else {
      open_.back()->items.push_back(std::move(value));
    }
    return true;
  }
  bool AddNumber(std::string text) {
    return Add({.kind = JsonKind::kNumber, .text = std::move(text)});
  }
  bool Open(JsonKind kind) {
    Add({.kind = kind});
    open_.push_back(open_.empty() ? root_ : &open_.back()->items.back());
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  ExactJson* root_;
  std::vector<ExactJson*> open_;  // the enclosing values; none of their lists grows meanwhile
  bool too_many_keys_ = false;
};

std::string DumpString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<ExactJson> ExactJson::Parse(std::string_view text, std::string_view field) {
  if (const std::string fault = FindJsonFault(text); !fault.empty()) {
    return InvalidField(field, fault, "a JSON schema, or nothing for any value");
  }
  ExactJson root;
  ExactJsonBuilder builder(&root);
  nlohmann::json::sax_parse(text, &builder);
  if (builder.too_many_keys()) {
    return InvalidField(field, absl::StrCat("an object with more than ", kMaxKeys, " keys"),
                        absl::StrCat("at most ", kMaxKeys));
  }
  return root;
}

const ExactJson* ExactJson::Find(std::string_view key) const {
  const auto found = std::ranges::find(keys, key);
  return found == keys.end() ? nullptr : &items[found - keys.begin()];
}

// NOLINTBEGIN(misc-no-recursion): documents are nested at most as deep as FindJsonFault allows.

std::string Dump(const ExactJson& value) {
  switch (value.kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBoolean:
      return value.boolean ? "true" : "false";
    case JsonKind::kNumber:
      return value.text;
    case JsonKind::kString:
      return DumpString(value.text);
    case JsonKind::kArray:
    case JsonKind::kObject:
      break;
  }
  const bool is_object = value.is(JsonKind::kObject);
  std::string text(1, is_object ? '{' : '[');
  for (size_t i = 0; i < value.items.size(); ++i) {
    if (i > 0) text += ',';
    if (is_object) text += DumpString(value.keys[i]) + ":";
    text += Dump(value.items[i]);
  }
  return text + (is_object ? '}' : ']');
}

std::string CanonicalText(const ExactJson& value) {
  if (value.is(JsonKind::kNumber)) return CanonicalNumber(value.text);
  if (value.is(JsonKind::kArray)) {
    std::string text = "[";
    for (const ExactJson& item : value.items) text += CanonicalText(item) + ",";
    return text + "]";
  }
  if (value.is(JsonKind::kObject)) {
    std::map<std::string, std::string> members;
    for (size_t i = 0; i < value.keys.size(); ++i) {
      members.emplace(DumpString(value.keys[i]), CanonicalText(value.items[i]));
    }
    std::string text = "{";
    for (const auto& [key, member] : members) text += key + ":" + member + ",";
    return text + "}";
  }
  return Dump(value);
}

// NOLINTEND(misc-no-recursion)

std::string Described(const ExactJson& value) {
  if (value.is(JsonKind::kObject)) return "an object";
  if (value.is(JsonKind::kArray)) return "an array";
  if (value.is(JsonKind::kString)) return Quoted(value.text);
  constexpr int64_t kMaxBytes = 100;
  return value.is(JsonKind::kNumber) ? BoundedUtf8(value.text, kMaxBytes) : Dump(value);
}

}  // namespace whipsnake::engine
