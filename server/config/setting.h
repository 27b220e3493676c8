// One option of `whipsnake serve`: a field of the configuration file, a flag and an environment
// variable, all of which set the same part of DaemonOptions.
#ifndef WHIPSNAKE_SERVER_CONFIG_SETTING_H_
#define WHIPSNAKE_SERVER_CONFIG_SETTING_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/daemon_options.h"

namespace whipsnake::server {

// What a field's value is. A flag and a variable have the same value as text.
enum class ValueKind {
  kBoolean,   // true. As text also on, 1, off, 0
  kInteger,   // 64
  kNumber,    // 0.9
  kBytes,     // 1048576 or "1MiB"
  kDuration,  // seconds, 25, or "25s"
  kText,      // "auto"
  kPath,      // a text. In a file, a relative path begins at the file's directory
  kAddress,   // "127.0.0.1:8500" or "unix:PATH", with a path as above
  kTexts,     // ["a", "b"]. A flag is repeated; a variable has commas
  kModels,    // a list of objects (model_entry.h). As texts, [NAME=]DIR
};

struct Setting {
  std::string field;                      // "max_running"
  std::string flag;                       // "--max-running"
  std::string variable;                   // "WHIPSNAKE_MAX_RUNNING"
  std::string value_name;                 // of the value in --help: "INT"; "" for a boolean
  std::string description;                // for --help
  std::vector<std::string> choices = {};  // if the value is one of a few
  ValueKind kind = ValueKind::kText;
  // Whether Daemon::Reload changes it while the server runs.
  bool reloads = false;

  // Sets the option from one text, or from any number for a list. INVALID_ARGUMENT, with `place`
  // as its field, for a text that is not of the kind. Unset for kModels.
  std::function<absl::Status(std::string_view place, std::span<const std::string> texts,
                             DaemonOptions& options)>
      set = nullptr;
  // Returns the value as a file has it. Equal options have equal values.
  std::function<nlohmann::ordered_json(const DaemonOptions& options)> get = nullptr;
  // Returns INVALID_ARGUMENT, with the flag as its field, for a value out of range.
  std::function<absl::Status(const DaemonOptions& options)> check = nullptr;
  std::function<void(const DaemonOptions& from, DaemonOptions& to)> copy = nullptr;
};

// All of them, in the order of --help.
const std::vector<Setting>& Settings();

// Returns the setting of a field, or of a flag; null if there is none.
const Setting* FindSetting(std::string_view field_or_flag);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONFIG_SETTING_H_
