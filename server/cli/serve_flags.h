// The flags of `whipsnake serve` that set its options, one for each setting (server/config).
#ifndef WHIPSNAKE_SERVER_CLI_SERVE_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_SERVE_FLAGS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/cli/command.h"
#include "server/config/config.h"

namespace whipsnake::server {

struct ServeFlags {
  std::string config;  // the file; "": none
  // What the flags give, as texts, by the setting's field.
  std::map<std::string, std::optional<std::string>> values = {};
  std::map<std::string, std::string> switches = {};  // "": not given
  std::map<std::string, std::vector<std::string>> lists = {};

  // With those of the environment.
  ConfigSources Sources() const;
};

// Adds a flag for each setting. `flags` must outlive the command line.
void AddServeFlags(Command command, ServeFlags& flags);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_SERVE_FLAGS_H_
