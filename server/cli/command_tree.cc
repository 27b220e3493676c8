#include "server/cli/command_tree.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "absl/strings/str_split.h"

namespace whipsnake::server {
namespace {

OptionDescription OptionDescriptionOf(const CLI::Option& option) {
  OptionDescription description;
  const std::vector<std::string>& long_names = option.get_lnames();
  description.name = long_names.empty() ? option.get_single_name() : "--" + long_names.front();
  // The type's name ends with those of the checks: "TEXT:{high,normal,low}", "X:FLOAT in [0 - 1]".
  const std::string type = option.get_type_name();
  if (option.get_expected_max() > 0) {
    size_t end = type.size();
    for (const char* check : {":{", ":INT in ", ":FLOAT in ", ":POSITIVE"}) {
      end = std::min(end, type.find(check));
    }
    description.value = type.substr(0, end);
  }
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open != type.npos && close != type.npos) {
    description.choices = absl::StrSplit(type.substr(open + 1, close - open - 1), ',');
  }
  description.description = option.get_description();
  description.default_value = option.get_default_str();
  description.environment = option.get_envname();
  description.required = option.get_required();
  return description;
}

}  // namespace

CommandDescription DescriptionOf(const CLI::App& app) {
  CommandDescription description{.name = app.get_name(),
                                 .description = app.get_description(),
                                 .examples = app.get_footer(),
                                 .options = {},
                                 .commands = {}};
  for (const CLI::Option* option : app.get_options()) {
    description.options.push_back(OptionDescriptionOf(*option));
  }
  for (const CLI::App* below : app.get_subcommands([](const CLI::App*) { return true; })) {
    CommandDescription inner = DescriptionOf(*below);
    if (!below->get_name().empty()) {
      description.commands.push_back(std::move(inner));
    } else {  // a group of options
      for (OptionDescription& option : inner.options) {
        description.options.push_back(std::move(option));
      }
    }
  }
  return description;
}

}  // namespace whipsnake::server
