// How a subcommand of `whipsnake` is declared.
//
// A command file holds one function, listed below, which adds the command and its flags:
//
//   void AddPingCommand(CommandLine& line) {
//     auto flags = std::make_shared<PingFlags>();
//     CLI::App& command = line.Add(
//         "ping", "Asks the server for a sign of life",
//         "  whipsnake ping --server 127.0.0.1:8500\n",
//         [flags](const Output& output) { return Ping(*flags, output); });
//     command.add_option("--server", flags->server, "The server's address")->capture_default_str();
//   }
#ifndef WHIPSNAKE_SERVER_CLI_COMMAND_H_
#define WHIPSNAKE_SERVER_CLI_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "server/cli/output.h"

namespace whipsnake::server {

// What a command does once its flags are parsed. Returns the process's exit code: 0 when all is
// well, 1 for "no" as an answer (a server that is not healthy). An error is printed by the caller,
// and the exit code is 1 then; 2 is for wrong flags alone.
using Action = std::function<absl::StatusOr<int>(const Output& output)>;

// The tree of commands, and after Run the one that was chosen.
class CommandLine {
 public:
  CommandLine();

  // Adds a command, with --json beside its own flags. `examples` stands at the end of its --help, a
  // line each, indented by two. The flags that `action` reads must live as long as it does. To
  // refuse a combination of flags, throw CLI::ValidationError in a callback of an option, or return
  // INVALID_ARGUMENT from the action.
  CLI::App& Add(const std::string& name, const std::string& description,
                const std::string& examples, Action action);
  // A command of a group, such as `models list`.
  CLI::App& Add(CLI::App& group, const std::string& name, const std::string& description,
                const std::string& examples, Action action);
  // A name that only has commands below it.
  CLI::App& AddGroup(const std::string& name, const std::string& description);

  // Parses, acts, reports. Returns the exit code.
  int Run(int argc, char** argv);

 private:
  CLI::App app_;
  bool json_ = false;
  std::string isa_;
  Action chosen_;
};

void AddBenchCommand(CommandLine& line);
void AddConvertCommand(CommandLine& line);
void AddEvaluateCommand(CommandLine& line);
void AddGenerateCommand(CommandLine& line);
void AddHealthCommand(CommandLine& line);
void AddInitCommand(CommandLine& line);
void AddLoadCommand(CommandLine& line);
void AddModelsCommands(CommandLine& line);
void AddQuantizationCommands(CommandLine& line, CLI::App& models);  // of `models`
void AddQuantizeCommand(CommandLine& line);
void AddServeCommand(CommandLine& line);
void AddStatesCommands(CommandLine& line);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_COMMAND_H_
