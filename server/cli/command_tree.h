// What the commands and their options are, for shell completion and the manual page.
#ifndef WHIPSNAKE_SERVER_CLI_COMMAND_TREE_H_
#define WHIPSNAKE_SERVER_CLI_COMMAND_TREE_H_

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace whipsnake::server {

struct OptionDescription {
  std::string name;   // "--model"; of a positional argument "model"
  std::string value;  // how --help names the value; "" for an option without one
  std::string description;
  std::string default_value;         // "": none that is known before the command runs
  std::string environment;           // the variable that gives the value too, or ""
  std::vector<std::string> choices;  // if the value is one of a few
  bool required = false;

  bool is_positional() const { return !name.starts_with("-"); }
};

struct CommandDescription {
  std::string name;  // "models"; of the root "whipsnake"
  std::string description;
  std::string examples;                      // the text at the end of --help
  std::vector<OptionDescription> options;    // with those of its option groups
  std::vector<CommandDescription> commands;  // below it
};

// Returns all that a command of the parser has.
CommandDescription DescriptionOf(const CLI::App& app);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_COMMAND_TREE_H_
