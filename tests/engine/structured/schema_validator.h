// A small validator of JSON schemas for the tests. It shares no code with their compiler.
#ifndef WHIPSNAKE_TESTS_ENGINE_STRUCTURED_SCHEMA_VALIDATOR_H_
#define WHIPSNAKE_TESTS_ENGINE_STRUCTURED_SCHEMA_VALIDATOR_H_

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "engine/base/utf8.h"

namespace whipsnake::engine {

using Json = nlohmann::json;

// Numbers are doubles, and patterns are for ASCII. Of formats it checks date.
class Validator {
 public:
  // `root` must outlive it. If `closed`, an object with properties has no others unless
  // "additionalProperties" or "required" say so, as the compiler has it.
  explicit Validator(const Json& root, bool closed = true) : root_(root), closed_(closed) {}

  bool Valid(const Json& value, const Json& schema) const {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.contains("$ref") && !Valid(value, Target(schema["$ref"]))) return false;
    if (schema.contains("const") && value != schema["const"]) return false;
    const Json none = Json::array();
    if (schema.contains("enum") && std::ranges::count(schema["enum"], value) == 0) return false;
    const auto valid = [&](const Json& one) { return Valid(value, one); };
    if (schema.contains("anyOf") && std::ranges::none_of(schema["anyOf"], valid)) return false;
    if (schema.contains("oneOf") && std::ranges::count_if(schema["oneOf"], valid) != 1) {
      return false;
    }
    if (!std::ranges::all_of(schema.value("allOf", none), valid)) return false;
    if (schema.contains("not") && Valid(value, schema["not"])) return false;
    if (schema.contains("type") && !HasType(value, schema)) return false;
    if (value.is_number()) return ValidNumber(value.get<double>(), schema);
    if (value.is_string()) return ValidString(value.get<std::string>(), schema);
    if (value.is_array()) return ValidArray(value, schema);
    if (value.is_object()) return ValidObject(value, schema);
    return true;
  }

 private:
  const Json& Target(const std::string& reference) const {
    return reference == "#" ? root_ : root_.at(Json::json_pointer(reference.substr(1)));
  }

  static bool HasType(const Json& value, const Json& schema) {
    const Json& type = schema["type"];
    if (value.is_null() && schema.value("nullable", false)) return true;
    const auto is = [&](const Json& name) {
      if (name == "integer") {
        return value.is_number() && value.get<double>() == std::floor(value.get<double>());
      }
      return name == "number" ? value.is_number() : name == value.type_name();
    };
    return type.is_array() ? std::ranges::any_of(type, is) : is(type);
  }

  static bool ValidNumber(double value, const Json& schema) {
    const auto bound = [&](const char* key, double otherwise) {
      return schema.contains(key) ? schema[key].get<double>() : otherwise;
    };
    if (schema.contains("multipleOf")) {
      const double quotient = value / bound("multipleOf", 1);
      if (std::abs(quotient - std::round(quotient)) > 1e-9 * std::max(1.0, std::abs(quotient))) {
        return false;
      }
    }
    return value >= bound("minimum", -INFINITY) && value <= bound("maximum", INFINITY) &&
           !(value <= bound("exclusiveMinimum", -INFINITY)) &&
           !(value >= bound("exclusiveMaximum", INFINITY));
  }

  static bool Matches(const std::string& value, const std::string& pattern) {
    return std::regex_search(value, std::regex(pattern));
  }

  static bool ValidString(const std::string& value, const Json& schema) {
    const int64_t characters = CountCharacters(value);
    if (schema.contains("pattern") && !Matches(value, schema["pattern"])) return false;
    if (schema.value("format", "") == "date" && !IsDate(value)) return false;
    return characters >= schema.value("minLength", 0) &&
           characters <= schema.value("maxLength", 1 << 30);
  }

  static bool IsDate(const std::string& value) {
    if (!std::regex_match(value, std::regex("\\d{4}-\\d{2}-\\d{2}"))) return false;
    const std::chrono::year_month_day date(
        std::chrono::year(std::stoi(value)),
        std::chrono::month(static_cast<unsigned>(std::stoi(value.substr(5)))),
        std::chrono::day(static_cast<unsigned>(std::stoi(value.substr(8)))));
    return date.ok() && date.year() > std::chrono::year(0);
  }

  bool ValidArray(const Json& value, const Json& schema) const {
    if (std::ssize(value) < schema.value("minItems", 0)) return false;
    if (std::ssize(value) > schema.value("maxItems", 1 << 30)) return false;
    if (schema.value("uniqueItems", false)) {
      for (size_t i = 0; i < value.size(); ++i) {
        if (std::count(value.begin() + static_cast<ptrdiff_t>(i), value.end(), value[i]) > 1) {
          return false;
        }
      }
    }
    const bool old = schema.contains("items") && schema["items"].is_array();
    const Json prefix = schema.value(old ? "items" : "prefixItems", Json::array());
    const Json rest = schema.value(old ? "additionalItems" : "items", Json(true));
    for (size_t i = 0; i < value.size(); ++i) {
      if (!Valid(value[i], i < prefix.size() ? prefix[i] : rest)) return false;
    }
    return true;
  }

  bool ValidObject(const Json& value, const Json& schema) const {
    if (std::ssize(value) < schema.value("minProperties", 0)) return false;
    if (std::ssize(value) > schema.value("maxProperties", 1 << 30)) return false;
    const Json required = schema.value("required", Json::array());
    for (const Json& name : required) {
      if (!value.contains(name.get<std::string>())) return false;
    }
    const Json properties = schema.value("properties", Json::object());
    const Json patterns = schema.value("patternProperties", Json::object());
    for (const auto& [key, member] : value.items()) {
      if (schema.contains("propertyNames") && !Valid(key, schema["propertyNames"])) return false;
      bool known = properties.contains(key);
      if (known && !Valid(member, properties[key])) return false;
      for (const auto& [pattern, one] : patterns.items()) {
        if (!Matches(key, pattern)) continue;
        known = true;
        if (!Valid(member, one)) return false;
      }
      if (known) continue;
      if (schema.contains("additionalProperties")) {
        if (!Valid(member, schema["additionalProperties"])) return false;
      } else if (closed_ && !(properties.empty() && patterns.empty()) &&
                 std::count(required.begin(), required.end(), Json(key)) == 0) {
        return false;
      }
    }
    return true;
  }

  const Json& root_;
  const bool closed_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_STRUCTURED_SCHEMA_VALIDATOR_H_
