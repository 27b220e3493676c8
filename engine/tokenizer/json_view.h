// Typed reading of JSON, with errors that name the path of the faulty value.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_JSON_VIEW_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_JSON_VIEW_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace whipsnake::engine {

// Parses `text`. Returns INVALID_ARGUMENT if it is not JSON or nests arrays and objects more than
// 64 deep.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// A value and its path. A missing field reads as null, as serde treats an optional field. The value
// must outlive the view.
class JsonView {
 public:
  explicit JsonView(const nlohmann::json* value, std::string path = "")
      : value_(value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool is_null() const { return value_->is_null(); }

  // Returns the field `key`; null if it is missing or this is not an object.
  JsonView operator[](const char* key) const;

  // Typed access. These return INVALID_ARGUMENT if the value has another type; BoolOr returns
  // `otherwise` for null.
  absl::StatusOr<std::vector<JsonView>> Elements() const;
  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<bool> BoolOr(bool otherwise) const;
  absl::StatusOr<std::string> String() const;
  // Returns the string field "type" of an object.
  absl::StatusOr<std::string> Type() const;

  // Returns INVALID_ARGUMENT "path: <value> seen, expected <expected>".
  absl::Status Invalid(std::string_view expected) const;
  // Returns UNIMPLEMENTED "path: kind "type" is not supported, expected <supported>".
  absl::Status Unsupported(std::string_view kind, std::string_view type,
                           std::string_view supported) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_JSON_VIEW_H_
