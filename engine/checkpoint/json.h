// Reading small JSON documents that strangers wrote. Implementation files alone include this: the
// public headers of this folder do not show the JSON library.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_JSON_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// A value in a message: a scalar as JSON, "an object", "an array".
std::string Described(const nlohmann::json& value);

// What is wrong with a text, "malformed JSON at byte 19", or "": it is JSON in UTF-8, without
// duplicate keys (of which the library would keep the last) and nested at most 32 deep.
std::string FindJsonFault(std::string_view text);

// INVALID_ARGUMENT where that finds something, or the document is no object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// Reads the keys of one object with checks. Every getter returns `otherwise` where the key is
// absent or null, and also after a fault; status() keeps the first fault, "state_size: 0 seen,
// expected an integer from 1 to 1024". So a caller reads everything and looks once.
class JsonObjectReader {
 public:
  // `prefix` goes before the keys in messages ("ssm_cfg."). The object must outlive the reader.
  explicit JsonObjectReader(const nlohmann::json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  bool Has(const char* key) const { return Find(key) != nullptr; }
  int64_t Integer(const char* key, int64_t otherwise, int64_t minimum, int64_t maximum);
  // Of the range [minimum, maximum], or (minimum, maximum] for `above_minimum`.
  double Number(const char* key, double otherwise, double minimum, double maximum,
                bool above_minimum = false);
  bool Boolean(const char* key, bool otherwise);
  std::string Text(const char* key, std::string otherwise);
  // One token id or a list of them.
  std::vector<int32_t> TokenIds(const char* key, std::vector<int32_t> otherwise);
  // The object under `key`; an empty one where it is absent.
  const nlohmann::json& Object(const char* key);
  // The entries of the list under `key`; 0 where it is absent or not a list.
  size_t Count(const char* key) const;
  // Whether the key holds this text, where several types are allowed.
  bool Holds(const char* key, std::string_view text) const;
  // Whether the key holds a list with this text in it.
  bool Lists(const char* key, std::string_view text) const;

  // Records that the value of `key` is not what is expected; the first fault wins.
  void Refuse(const char* key, std::string_view expected);
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* Find(const char* key) const;  // null if absent or JSON's null

  const nlohmann::json& object_;
  const std::string prefix_;
  absl::Status status_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_JSON_H_
