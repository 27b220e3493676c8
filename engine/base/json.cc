#include "engine/base/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;

// Checks a document in a first pass over the parser's events. Rejects what the library's own parser
// accepts: duplicate keys and deep nesting.
class Checker : public nlohmann::json_sax<json> {
 public:
  const std::string& fault() const { return fault_; }

  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool key(std::string& name) override {
    if (keys_.back().insert(name).second) return true;
    return Refuse(absl::StrCat("duplicate key ", Quoted(name)));
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Refuse(absl::StrCat("malformed JSON at byte ", position));
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
    return Refuse(absl::StrCat("JSON nested deeper than ", kMaxDepth));
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }
  bool Refuse(std::string what) {
    fault_ = std::move(what);
    return false;
  }

  std::vector<std::set<std::string>> keys_;  // keys of each enclosing object; empty for arrays
  std::string fault_;
};

}  // namespace

std::string Described(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_string()) return Quoted(value.get_ref<const std::string&>());
  return value.dump();
}

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
  const auto refuse = [](std::string_view seen) {
    return absl::InvalidArgumentError(absl::StrCat(ToAbsl(seen), " seen, expected a JSON object"));
  };
  if (const std::string fault = FindJsonFault(text); !fault.empty()) return refuse(fault);
  const json document = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return refuse(Described(document));
  return document;
}

const json* JsonObjectReader::Find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonObjectReader::Refuse(const char* key, std::string_view expected) {
  if (!status_.ok()) return;
  const json* value = Find(key);
  status_ = absl::InvalidArgumentError(
      absl::StrCat(prefix_, key, ": ", value ? Described(*value) : std::string("nothing"),
                   " seen, expected ", ToAbsl(expected)));
}

int64_t JsonObjectReader::Integer(const char* key, int64_t otherwise, int64_t minimum,
                                  int64_t maximum) {
  const json* value = Find(key);
  if (!value) return otherwise;
  // The library stores a value beyond int64 as uint64, and one beyond uint64 as a float.
  if (value->is_number_integer() &&
      !(value->is_number_unsigned() &&
        value->get<uint64_t>() > std::numeric_limits<int64_t>::max())) {
    const int64_t integer = value->get<int64_t>();
    if (minimum <= integer && integer <= maximum) return integer;
  }
  Refuse(key, absl::StrCat("an integer from ", minimum, " to ", maximum));
  return otherwise;
}

double JsonObjectReader::Number(const char* key, double otherwise, double minimum, double maximum,
                                bool above_minimum) {
  const json* value = Find(key);
  if (!value) return otherwise;
  if (value->is_number()) {
    const double number = value->get<double>();
    // Compare as a float too, because the caller may convert the value to float.
    const bool above = above_minimum ? minimum < number && minimum < static_cast<float>(number)
                                     : minimum <= number;
    if (number <= maximum && above) return number;
  }
  Refuse(key, absl::StrCat("a number ", above_minimum ? "above " : "from ", minimum,
                           above_minimum ? " and at most " : " to ", maximum));
  return otherwise;
}

bool JsonObjectReader::Boolean(const char* key, bool otherwise) {
  const json* value = Find(key);
  if (!value) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  Refuse(key, "true or false");
  return otherwise;
}

std::string JsonObjectReader::Text(const char* key, std::string otherwise) {
  const json* value = Find(key);
  if (!value) return otherwise;
  if (value->is_string()) return value->get<std::string>();
  Refuse(key, "a string");
  return otherwise;
}

std::vector<int32_t> JsonObjectReader::TokenIds(const char* key, std::vector<int32_t> otherwise) {
  const json* value = Find(key);
  if (!value) return otherwise;
  const auto is_id = [](const json& id) {
    return id.is_number_unsigned() && id.get<uint64_t>() <= std::numeric_limits<int32_t>::max();
  };
  if (is_id(*value)) return {value->get<int32_t>()};
  constexpr std::string_view kExpected = "a token id, an integer from 0 to 2147483647, or a list";
  if (!value->is_array()) {
    Refuse(key, kExpected);
    return otherwise;
  }
  std::vector<int32_t> ids;
  for (const json& id : *value) {
    if (!is_id(id)) {
      Refuse(key, absl::StrCat(ToAbsl(kExpected), "; ", Described(id), " is in it"));
      return otherwise;
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

const json& JsonObjectReader::Object(const char* key) {
  static const json empty = json::object();
  const json* value = Find(key);
  if (!value) return empty;
  if (value->is_object()) return *value;
  Refuse(key, "an object");
  return empty;
}

size_t JsonObjectReader::Count(const char* key) const {
  const json* value = Find(key);
  return value && value->is_array() ? value->size() : 0;
}

bool JsonObjectReader::Holds(const char* key, std::string_view text) const {
  const json* value = Find(key);
  return value && value->is_string() && value->get_ref<const std::string&>() == text;
}

bool JsonObjectReader::Lists(const char* key, std::string_view text) const {
  const json* value = Find(key);
  return value && value->is_array() && std::ranges::find(*value, json(text)) != value->end();
}

}  // namespace whipsnake::engine
