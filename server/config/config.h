// The configuration of a server: the options that a file, the environment and the flags of
// `whipsnake serve` give together. Later ones override earlier ones: defaults, the file, the
// environment, the flags.
#ifndef WHIPSNAKE_SERVER_CONFIG_CONFIG_H_
#define WHIPSNAKE_SERVER_CONFIG_CONFIG_H_

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/field_errors.h"
#include "server/daemon_options.h"

namespace whipsnake::server {

enum class Origin { kDefault, kFile, kEnvironment, kFlag };
std::string_view Name(Origin origin);  // "default", "file", "environment", "flag"

struct ConfigSources {
  std::string file = {};  // "": none
  // By the setting's field: what the environment and the flags give, as texts.
  std::map<std::string, std::string> environment = {};
  std::map<std::string, std::vector<std::string>> flags = {};
};

// Returns those of the settings' variables that the process's environment has and that are not
// empty.
std::map<std::string, std::string> ReadEnvironment();

struct Config {
  DaemonOptions options;
  std::map<std::string, Origin> origins;  // by field; of the models, the last source that has any
  // All that is wrong: the field is where ("--threads", "WHIPSNAKE_THREADS", "serve.json:7:
  // threads"), and the message begins with it.
  std::vector<engine::FieldViolation> errors;

  // OK, or INVALID_ARGUMENT with the messages of all errors, one a line.
  absl::Status status() const;
};

// What is checked of the options that the sources give together.
enum class ConfigChecks {
  kValues,      // FindWrongValues: for a server that runs, whose files may have changed
  kEverything,  // FindFaults
};

// Reads the sources and checks what they give together. Reads the config.json of the models, and
// nothing else of them.
Config ReadConfig(const ConfigSources& sources, ConfigChecks checks = ConfigChecks::kEverything);

// What a reload would do.
struct ConfigChanges {
  std::vector<std::string> live;     // "max_waiting: 256 to 512"
  std::vector<std::string> restart;  // fields that only take effect after a restart
};

// Sets in `options` those of the settings that may change while a server runs and have another
// value in `wanted`.
ConfigChanges ApplyLiveSettings(const DaemonOptions& wanted, DaemonOptions& options);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONFIG_CONFIG_H_
