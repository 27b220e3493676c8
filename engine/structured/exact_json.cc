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

// Whether the text is a JSON number.
bool IsNumber(std::string_view text) {
  size_t at = 0;
  const auto skip_any = [&](std::string_view characters) {
    const bool is_there = at < text.size() && characters.find(text[at]) != characters.npos;
    at += is_there ? 1 : 0;
    return is_there;
  };
  const auto skip_digits = [&] {
    const size_t begin = at;
    while (skip_any("0123456789")) continue;
    return at > begin;
  };
  skip_any("-");
  if (!skip_any("0") && !skip_digits()) return false;
  if (skip_any(".") && !skip_digits()) return false;
  if (skip_any("eE")) {
    skip_any("+-");
    if (!skip_digits()) return false;
  }
  return at == text.size();
}

// Returns the numbers of a JSON text, and writes 0 in the place of each of them, filled up with
// spaces: the library refuses numbers beyond doubles. All other characters keep their places.
std::vector<std::string_view> TakeNumbers(std::string_view text, std::string* rest) {
  constexpr std::string_view kCharacters = "+-.0123456789eE";
  *rest = text;
  std::vector<std::string_view> numbers;
  bool in_string = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') in_string = !in_string;
    if (in_string) {
      at += c == '\\' ? 1 : 0;
      continue;
    }
    if (c != '-' && (c < '0' || c > '9')) continue;
    const size_t end = std::min(text.find_first_not_of(kCharacters, at), text.size());
    if (const auto number = text.substr(at, end - at); IsNumber(number)) {
      numbers.push_back(number);
      rest->replace(at, number.size(), number.size(), ' ');
      (*rest)[at] = '0';
    }
    at = end - 1;
  }
  return numbers;
}

// Builds the document from the parser's events, of a text that FindJsonFault has accepted.
class ExactJsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  // `numbers` are those of the document, as they are written.
  ExactJsonBuilder(ExactJson* root, std::vector<std::string_view> numbers)
      : root_(root), numbers_(std::move(numbers)) {}

  bool too_many_keys() const { return too_many_keys_; }

  bool null() override { return Add({}); }
  bool boolean(bool value) override { return Add(ExactJson::Boolean(value)); }
  bool number_integer(int64_t) override { return AddNumber(); }
  bool number_unsigned(uint64_t) override { return AddNumber(); }
  bool number_float(double, const std::string&) override { return AddNumber(); }
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
  bool AddNumber() {
    return Add({.kind = JsonKind::kNumber, .text = std::string(numbers_[next_number_++])});
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
  const std::vector<std::string_view> numbers_;
  size_t next_number_ = 0;
  std::vector<ExactJson*> open_;  // the enclosing values; none of their lists grows meanwhile
  bool too_many_keys_ = false;
};

std::string DumpString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<ExactJson> ExactJson::Parse(std::string_view text, std::string_view field) {
  std::string rest;
  std::vector<std::string_view> numbers = TakeNumbers(text, &rest);
  if (const std::string fault = FindJsonFault(rest); !fault.empty()) {
    return InvalidField(field, fault, "a JSON schema, or nothing for any value");
  }
  ExactJson root;
  ExactJsonBuilder builder(&root, std::move(numbers));
  nlohmann::json::sax_parse(rest, &builder);
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
