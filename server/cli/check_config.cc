// `whipsnake check-config`: what `serve` would do with a configuration.
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "server/cli/command.h"
#include "server/cli/serve_flags.h"
#include "server/config/config.h"
#include "server/config/setting.h"

namespace whipsnake::server {
namespace {

Json ConfigJson(const Config& config) {
  Json settings = Json::object();
  for (const Setting& setting : Settings()) {
    settings[setting.field] = {{"value", setting.get(config.options)},
                               {"from", std::string(Name(config.origins.at(setting.field)))},
                               {"reloads", setting.reloads}};
  }
  Json errors = Json::array();
  for (const engine::FieldViolation& error : config.errors) {
    errors.push_back({{"field", error.field}, {"message", error.message}});
  }
  return {{"valid", config.errors.empty()},
          {"errors", std::move(errors)},
          {"settings", std::move(settings)}};
}

std::string ConfigTable(const Config& config) {
  std::vector<std::vector<std::string>> rows = {{"FIELD", "FROM", "VALUE"}};
  for (const Setting& setting : Settings()) {
    rows.push_back({setting.field, std::string(Name(config.origins.at(setting.field))),
                    setting.get(config.options).dump()});
  }
  return Table(rows);
}

absl::StatusOr<int> CheckConfig(const ServeFlags& flags, const Output& output) {
  const Config config = ReadConfig(flags.Sources());
  if (output.json()) {
    output.Object(ConfigJson(config));
  } else {
    std::cout << ConfigTable(config);
    for (const engine::FieldViolation& error : config.errors) {
      output.Error(absl::InvalidArgumentError(error.message));
    }
  }
  return config.errors.empty() ? 0 : 1;
}

}  // namespace

void AddCheckConfigCommand(CommandLine& line) {
  auto flags = std::make_shared<ServeFlags>();
  Command command = line.Add(
      "check-config",
      "Checks a configuration file as serve would, without listening or loading models, and shows "
      "the values in force and where they come from",
      "  whipsnake check-config serve.json\n"
      "  whipsnake check-config serve.json --json --max-running 32\n",
      [flags](const Output& output) { return CheckConfig(*flags, output); });
  command.AddOption("file", flags->config, "The file of serve --config")
      .TypeName("FILE")
      .Required();
  AddServeFlags(command, *flags);
}

}  // namespace whipsnake::server
