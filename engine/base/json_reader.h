// Typed reading of JSON documents, with errors that name the path of the faulty value:
// "ssm_cfg.d_state: 0 seen, expected an integer from 1 to 1024".
#ifndef WHIPSNAKE_ENGINE_BASE_JSON_READER_H_
#define WHIPSNAKE_ENGINE_BASE_JSON_READER_H_

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// A value and its path. A missing field reads as null, as serde treats an optional field. The value
// must outlive the view.
class JsonView {
 public:
  explicit JsonView(const nlohmann::json* value, std::string path = "")
      : value_(value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool is_null() const;

  // Returns the field `key`; null if it is missing or this is not an object.
  JsonView operator[](const char* key) const;

  // Typed access. These return INVALID_ARGUMENT if the value has another type or is out of range.
  absl::StatusOr<int64_t> Integer(int64_t minimum, int64_t maximum) const;
  // Accepts [minimum, maximum], or (minimum, maximum] if `above_minimum`.
  absl::StatusOr<double> Number(double minimum, double maximum, bool above_minimum = false) const;
  absl::StatusOr<bool> Boolean() const;
  absl::StatusOr<bool> BooleanOr(bool otherwise) const;  // `otherwise` for null
  absl::StatusOr<std::string> Text() const;
  absl::StatusOr<std::vector<JsonView>> Elements() const;
  // Returns the text field "type" of an object.
  absl::StatusOr<std::string> Type() const;

  // Whether the value is this text.
  bool IsText(std::string_view text) const;
  // Whether the value is a list that contains this text.
  bool ListContains(std::string_view text) const;

  // Returns INVALID_ARGUMENT "path: <value> seen, expected <expected>".
  absl::Status Invalid(std::string_view expected) const;
  // Returns UNIMPLEMENTED "path: kind "type" is not supported, expected <supported>".
  absl::Status Unsupported(std::string_view kind, std::string_view type,
                           std::string_view supported) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

// Reads the optional fields of one object. Each getter returns `otherwise` if the field is absent
// or null, or if its value is not valid; status() keeps the first fault. So a caller reads
// everything and checks status() once. The object must outlive the reader.
class JsonObjectReader {
 public:
  explicit JsonObjectReader(const nlohmann::json& document) : object_(&document) {}
  explicit JsonObjectReader(JsonView object) : object_(std::move(object)) {}

  JsonView operator[](const char* key) const { return object_[key]; }
  bool Has(const char* key) const { return !object_[key].is_null(); }

  // The ranges are those of the JsonView's getters.
  int64_t Integer(const char* key, int64_t otherwise, int64_t minimum, int64_t maximum);
  double Number(const char* key, double otherwise, double minimum, double maximum,
                bool above_minimum = false);
  bool Boolean(const char* key, bool otherwise);
  std::string Text(const char* key, std::string otherwise);
  // Returns the object under `key`, or null if there is none.
  JsonView Object(const char* key);
  // Returns the number of entries of the list under `key`; 0 if it is absent or not a list.
  size_t Count(const char* key) const;

  // Records that the value of `key` is not what is expected.
  void Reject(const char* key, std::string_view expected);
  // Records `status` unless it is OK or there is a fault already.
  void Update(const absl::Status& status);
  const absl::Status& status() const { return status_; }

 private:
  template <typename T>
  T ValueOr(const absl::StatusOr<T>& value, T otherwise);

  JsonView object_;
  absl::Status status_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_JSON_READER_H_
