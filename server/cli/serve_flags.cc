#include "server/cli/serve_flags.h"

#include <functional>

#include "engine/base/status.h"
#include "server/config/setting.h"

namespace whipsnake::server {
namespace {

// Returns what is wrong with a value, without the flag's name, which the command line adds.
absl::Status CheckFlagValue(const Setting& setting, const std::string& text) {
  DaemonOptions options;
  absl::Status status = setting.set(setting.flag, std::vector<std::string>{text}, options);
  if (status.ok()) status = setting.check(options);
  if (status.ok()) return status;
  const std::string prefix = setting.flag + ": ";
  std::string message(status.message());
  if (message.starts_with(prefix)) message.erase(0, prefix.size());
  return absl::InvalidArgumentError(message);
}

// For Option::Check. Settings live as long as the program.
std::function<absl::Status(const std::string&)> CheckOf(const Setting& setting) {
  return [&setting](const std::string& text) { return CheckFlagValue(setting, text); };
}

std::string DefaultText(const Setting& setting) {
  const Json value = setting.get(DaemonOptions());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void AddValueFlag(Command command, const Setting& setting, std::optional<std::string>& value) {
  Option option = command.AddOption(setting.flag, value, setting.description);
  if (!setting.choices.empty()) {
    option.Choices(setting.choices);
  } else {
    option.TypeName(setting.value_name).Check(CheckOf(setting));
  }
  if (const std::string text = DefaultText(setting); !text.empty()) option.ShowDefault(text);
}

}  // namespace

ConfigSources ServeFlags::Sources() const {
  ConfigSources sources{.file = config, .environment = ReadEnvironment(), .flags = lists};
  for (const auto& [field, value] : values) {
    if (value) sources.flags[field] = {*value};
  }
  for (const auto& [field, text] : switches) {
    if (!text.empty()) sources.flags[field] = {text};
  }
  std::erase_if(sources.flags, [](const auto& flag) { return flag.second.empty(); });
  return sources;
}

void AddServeFlags(Command command, ServeFlags& flags) {
  for (const Setting& setting : Settings()) {
    const bool is_list = setting.kind == ValueKind::kTexts || setting.kind == ValueKind::kModels;
    if (is_list) {
      command.AddOption(setting.flag, flags.lists[setting.field], setting.description)
          .TypeName(setting.value_name);
    } else if (setting.kind == ValueKind::kBoolean) {
      command.AddSwitch(setting.flag, flags.switches[setting.field], setting.description)
          .Check(CheckOf(setting));
    } else {
      AddValueFlag(command, setting, flags.values[setting.field]);
    }
  }
}

}  // namespace whipsnake::server
