// What a command prints: JSON for tools, text and tables for people.
#ifndef WHIPSNAKE_SERVER_CLI_OUTPUT_H_
#define WHIPSNAKE_SERVER_CLI_OUTPUT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace whipsnake::server {

// Keeps its keys in the order in which they were set.
using Json = nlohmann::ordered_json;

// Where a command's results go. With --json stdout carries JSON alone.
class Output {
 public:
  explicit Output(bool json) : json_(json) {}

  bool json() const { return json_; }

  // One object on one line of stdout. Text that is not UTF-8 gets U+FFFD.
  void Object(const Json& object) const;

  // "error: ..." on stderr or, with --json, {"error": {"code", "message", "details"}} on stdout.
  void Error(const absl::Status& status) const;

 private:
  bool json_;
};

// Attaches what an error has for tools, for Output::Error to print as its `details`.
void SetErrorDetails(absl::Status& status, const Json& details);

// A table with aligned columns: numbers to the right, text to the left. rows[0] is the heading.
std::string Table(const std::vector<std::vector<std::string>>& rows);

std::string HumanBytes(int64_t bytes);     // "512 B", "3.4 MiB"
std::string HumanSeconds(double seconds);  // "840 us", "12.3 ms", "4.2 s", "3 min 20 s"
std::string HumanNumber(double value);     // three digits that matter: "0.0123", "12.3", "1230"

bool StderrIsTerminal();
// `text` in a terminal's dim colour.
std::string Dim(std::string_view text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_OUTPUT_H_
