// Reads small JSON documents from untrusted sources. Include this only in implementation files and
// internal headers, so that the public headers of this folder do not expose the JSON library.
#ifndef WHIPSNAKE_ENGINE_BASE_JSON_H_
#define WHIPSNAKE_ENGINE_BASE_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Describes a value for a message: a scalar as JSON, "an object", or "an array".
std::string Described(const nlohmann::json& value);

// Returns what is wrong with `text`, such as "malformed JSON at byte 19", or "" if nothing is. A
// valid text is JSON in UTF-8 without duplicate keys (the library would keep the last of them),
// nested at most 32 deep.
std::string FindJsonFault(std::string_view text);

// Returns INVALID_ARGUMENT if FindJsonFault finds a fault or the document is not an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// Reads the keys of one object and checks their values. Each getter returns `otherwise` if the key
// is absent or null, or if its value is not valid; status() keeps the first fault, "state_size: 0
// seen, expected an integer from 1 to 1024". So a caller reads everything and checks status() once.
class JsonObjectReader {
 public:
  // `prefix` is put before the keys in messages ("ssm_cfg."). The object must outlive the reader.
  explicit JsonObjectReader(const nlohmann::json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  bool Has(const char* key) const { return Find(key) != nullptr; }
  int64_t Integer(const char* key, int64_t otherwise, int64_t minimum, int64_t maximum);
  // Accepts [minimum, maximum], or (minimum, maximum] if `above_minimum`.
  double Number(const char* key, double otherwise, double minimum, double maximum,
                bool above_minimum = false);
  bool Boolean(const char* key, bool otherwise);
  std::string Text(const char* key, std::string otherwise);
  // Accepts one token id or a list of them.
  std::vector<int32_t> TokenIds(const char* key, std::vector<int32_t> otherwise);
  // Returns the object under `key`, or an empty one if the key is absent.
  const nlohmann::json& Object(const char* key);
  // Returns the number of entries of the list under `key`; 0 if it is absent or not a list.
  size_t Count(const char* key) const;
  // Whether the value is this text. For keys that allow several types.
  bool Holds(const char* key, std::string_view text) const;
  // Whether the value is a list that contains this text.
  bool Lists(const char* key, std::string_view text) const;

  // Records that the value of `key` is not what is expected. Only the first fault is kept.
  void Refuse(const char* key, std::string_view expected);
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* Find(const char* key) const;  // null if absent or JSON's null

  const nlohmann::json& object_;
  const std::string prefix_;
  absl::Status status_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_JSON_H_
