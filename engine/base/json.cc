#include "engine/base/json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;

// Checks a document in a first pass over the parser's events. Rejects what the library's own parser
// accepts: duplicate keys and deep nesting, whose tree would take many times the memory of the
// text.
class Checker : public nlohmann::json_sax<json> {
 public:
  const std::string& fault() const { return fault_; }

  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool key(std::string& name) override {
    if (keys_.back().insert(name).second) return true;
    return Reject(absl::StrCat("duplicate key ", Quoted(name)));
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Reject(absl::StrCat("malformed JSON at byte ", position));
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_unsigned(uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(binary_t&) override { return true; }

 private:
  bool Enter() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    return Reject(absl::StrCat("JSON nested deeper than ", kMaxDepth));
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }
  bool Reject(std::string what) {
    fault_ = std::move(what);
    return false;
  }

  // The keys of each enclosing object; empty for arrays.
  std::vector<absl::flat_hash_set<std::string>> keys_;
  std::string fault_;
};

// The numbers that Python writes and JSON does not have.
struct PythonNumber {
  std::string_view name;
  double value;
  std::string_view stand_in;  // JSON of the same length
  // JSON of a string that stands for the number while a document is parsed or written. No file has
  // such a string for another reason.
  std::string_view quoted;
  std::string_view text;  // of that string
};
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::array<PythonNumber, 3> kPythonNumbers = {{
    {"NaN", std::numeric_limits<double>::quiet_NaN(), "0.0", R"("\u0000NaN")", {"\0NaN", 4}},
    {"Infinity", kInfinity, "0       ", R"("\u0000Infinity")", {"\0Infinity", 9}},
    {"-Infinity", -kInfinity, "-0       ", R"("\u0000-Infinity")", {"\0-Infinity", 10}},
}};

// Returns the number that begins at `pos`, or null.
const PythonNumber* PythonNumberAt(std::string_view text, size_t pos) {
  for (const PythonNumber& number : kPythonNumbers) {
    if (text.substr(pos, number.name.size()) == number.name) return &number;
  }
  return nullptr;
}

// Returns the end of the JSON string that begins at `pos`.
size_t StringEnd(std::string_view text, size_t pos) {
  for (++pos; pos < text.size() && text[pos] != '"'; ++pos) pos += text[pos] == '\\' ? 1 : 0;
  return std::min(pos + 1, text.size());
}

// Replaces each of Python's numbers that is a whole value by `member` of its entry.
std::string ReplacePythonNumbers(std::string_view text, std::string_view PythonNumber::*member) {
  std::string replaced;
  char before = ',';  // the last character that is not white space
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const PythonNumber* number =
        before == ',' || before == ':' || before == '[' ? PythonNumberAt(text, pos) : nullptr;
    if (number != nullptr) {
      pos += number->name.size();
      replaced += number->*member;
    } else {
      pos = text[pos] == '"' ? StringEnd(text, pos) : pos + 1;
      replaced += text.substr(begin, pos - begin);
    }
    if (const char last = text[pos - 1]; last > ' ') before = last;
  }
  return replaced;
}

// Gives the strings that stand for numbers their values.
template <typename Json>
void RestorePythonNumbers(Json& value) {  // NOLINT(misc-no-recursion): the depth is limited
  if (value.is_string()) {
    for (const PythonNumber& number : kPythonNumbers) {
      if (value.template get_ref<const std::string&>() != number.text) continue;
      value = number.value;
      return;
    }
  } else if (value.is_structured()) {
    for (Json& element : value) RestorePythonNumbers(element);
  }
}

const PythonNumber& PythonNumberOf(double value) {
  return kPythonNumbers[std::isnan(value) ? 0 : value > 0 ? 1 : 2];
}

void HidePythonNumbers(nlohmann::ordered_json& value) {  // NOLINT(misc-no-recursion): as above
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    value = std::string(PythonNumberOf(value.get<double>()).text);
  } else if (value.is_structured()) {
    for (nlohmann::ordered_json& element : value) HidePythonNumbers(element);
  }
}

template <typename Json>
std::string Describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_string()) return Quoted(value.template get_ref<const std::string&>());
  if (value.is_number_float() && !std::isfinite(value.template get<double>())) {
    return std::string(PythonNumberOf(value.template get<double>()).name);
  }
  return value.dump();
}

}  // namespace

std::string FindJsonFault(std::string_view text) {
  // The library treats a NUL byte as the end of the text.
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    return absl::StrCat("malformed JSON at byte ", nul);
  }
  Checker checker;
  json::sax_parse(text, &checker);
  return checker.fault();
}

absl::StatusOr<json> ParseJsonObject(std::string_view text) {
  constexpr char kExpected[] = " seen, expected a JSON object";
  if (const std::string fault = FindJsonFault(text); !fault.empty()) {
    return absl::InvalidArgumentError(fault + kExpected);
  }
  json document = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return absl::InvalidArgumentError(Described(document) + kExpected);
  }
  return document;
}

absl::StatusOr<json> ParsePythonJsonObject(std::string_view text) {
  // With stand-ins of the same length, the position of a fault is that in the file.
  RETURN_IF_ERROR(ParseJsonObject(ReplacePythonNumbers(text, &PythonNumber::stand_in)).status());
  ASSIGN_OR_RETURN(json document,
                   ParseJsonObject(ReplacePythonNumbers(text, &PythonNumber::quoted)));
  RestorePythonNumbers(document);
  return document;
}

nlohmann::ordered_json PythonJsonInOrder(std::string_view text) {
  auto document = nlohmann::ordered_json::parse(ReplacePythonNumbers(text, &PythonNumber::quoted),
                                                /*cb=*/nullptr, /*allow_exceptions=*/false);
  RestorePythonNumbers(document);
  return document;
}

std::string PythonJsonText(nlohmann::ordered_json value) {
  HidePythonNumbers(value);
  std::string text = value.dump(2);
  for (const PythonNumber& number : kPythonNumbers) {
    text = absl::StrReplaceAll(text, {{ToAbsl(number.quoted), ToAbsl(number.name)}});
  }
  return text;
}

std::string Described(const json& value) { return Describe(value); }
std::string Described(const nlohmann::ordered_json& value) { return Describe(value); }

}  // namespace whipsnake::engine
