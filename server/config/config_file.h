// The configuration file as it is written: one JSON object, in which // and /* */ comments are
// allowed.
#ifndef WHIPSNAKE_SERVER_CONFIG_CONFIG_FILE_H_
#define WHIPSNAKE_SERVER_CONFIG_CONFIG_FILE_H_

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/field_errors.h"

namespace whipsnake::server {

struct ConfigFile {
  std::string path;  // of the file, as given
  nlohmann::ordered_json document = nlohmann::ordered_json::object();
  std::map<std::string, int> lines = {};  // of the fields by their path: "models[0].directory"

  // Where a field is, for messages: "serve.json:7: models[0].directory".
  std::string Place(const std::string& field) const;
  // Returns a path that is relative to the file's directory as one that is relative to the
  // process's; other paths, and "", as they are.
  std::string Resolve(const std::string& relative) const;
};

// Returns INVALID_ARGUMENT, with the file and the line, for malformed JSON, duplicate keys, NUL
// bytes and a document that is not an object; otherwise the errors of reading.
absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path);

// Adds the violations of a status that is not OK to `errors`.
void AddErrors(const absl::Status& status, std::vector<engine::FieldViolation>& errors);

// Adds an error for each field of the object at `path` ("" for the document) that is not one of
// `known`, with the nearest of them.
void CheckFields(const ConfigFile& file, const std::string& path,
                 const nlohmann::ordered_json& object, std::span<const std::string> known,
                 std::vector<engine::FieldViolation>& errors);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONFIG_CONFIG_FILE_H_
