// A JSON document that keeps the digits of its numbers, which a double would round, and the order
// of its keys, which is the order of an object's properties.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_EXACT_JSON_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_EXACT_JSON_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

enum class JsonKind : uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };

struct ExactJson {
  JsonKind kind = JsonKind::kNull;
  bool boolean = false;
  std::string text{};               // kString: the characters; kNumber: as it is written
  std::vector<std::string> keys{};  // kObject: without duplicates, in the order of the text
  std::vector<ExactJson> items{};   // kArray; kObject: the values, by the index of their keys

  static ExactJson Boolean(bool value) { return {.kind = JsonKind::kBoolean, .boolean = value}; }

  // Objects with more keys are refused: looking up a key is a linear search.
  static constexpr size_t kMaxKeys = 1024;

  // Returns INVALID_ARGUMENT with the field if the text is malformed JSON, or has an object with
  // more than kMaxKeys keys. Values are nested at most as deep as FindJsonFault allows.
  static absl::StatusOr<ExactJson> Parse(std::string_view text, std::string_view field);

  bool is(JsonKind expected) const { return kind == expected; }
  bool is_true() const { return kind == JsonKind::kBoolean && boolean; }
  bool is_false() const { return kind == JsonKind::kBoolean && !boolean; }
  bool empty() const { return items.empty(); }

  // Returns the value of a key, or null if there is none or this is not an object.
  const ExactJson* Find(std::string_view key) const;
};

// Returns the value as compact JSON, with numbers as they were written.
std::string Dump(const ExactJson& value);

// Returns a text that two values share if and only if they are equal in the sense of JSON Schema: 1
// equals 1.0, and the order of keys does not matter.
std::string CanonicalText(const ExactJson& value);

// Describes a value for a message: a scalar as JSON, "an object", or "an array".
std::string Described(const ExactJson& value);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_EXACT_JSON_H_
