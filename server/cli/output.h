// The output of commands: JSON for tools, text and tables for people.
#ifndef WHIPSNAKE_SERVER_CLI_OUTPUT_H_
#define WHIPSNAKE_SERVER_CLI_OUTPUT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace whipsnake::server {

// Keeps keys in the order in which they were set.
using Json = nlohmann::ordered_json;

// Writes a command's results. With --json, stdout carries only JSON.
class Output {
 public:
  explicit Output(bool json) : json_(json) {}

  bool json() const { return json_; }

  // Writes one object on one line of stdout. Invalid UTF-8 is replaced by U+FFFD.
  void Object(const Json& object) const;

  // Writes "error: ..." to stderr or, with --json, {"error": {"code", "message", "details"}} to
  // stdout.
  void Error(const absl::Status& status) const;

 private:
  bool json_;
};

// Attaches details for tools, which Output::Error prints as `details`.
void SetErrorDetails(absl::Status& status, const Json& details);

// Formats a table with aligned columns: numbers right, text left. rows[0] is the header.
std::string Table(const std::vector<std::vector<std::string>>& rows);

// In MiB, rounded up, so that a budget of this number is enough: "312.5".
std::string Mebibytes(int64_t bytes);

// Whether stderr is a terminal that can move its cursor: not one of TERM=dumb.
bool StderrIsTerminal();
// Returns `text` in a terminal's dim colour, unless NO_COLOR is set (https://no-color.org).
std::string Dim(std::string_view text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_OUTPUT_H_
