// How a subcommand of `whipsnake` is declared.
//
// A command file defines one of the functions listed below. It adds the command and its flags:
//
//   void AddPingCommand(CommandLine& line) {
//     auto flags = std::make_shared<PingFlags>();
//     CLI::App& command = line.Add(
//         "ping", "Checks that the server answers",
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

// Runs a command once its flags are parsed. Returns the process's exit code: 0 for success, 1 for a
// negative answer (a server that is not healthy). If it returns an error, the caller prints the
// error and the exit code is 1. Exit code 2 is only for wrong flags.
using Action = std::function<absl::StatusOr<int>(const Output& output)>;

// The tree of commands, and, after Run, the selected one.
class CommandLine {
 public:
  CommandLine();

  // Adds a command, with --json besides its own flags. `examples` are printed at the end of its
  // --help: one per line, indented by two. The flags that `action` reads must live as long as
  // `action`. To refuse a combination of flags, throw CLI::ValidationError in an option's callback,
  // or return INVALID_ARGUMENT from the action.
  CLI::App& Add(const std::string& name, const std::string& description,
                const std::string& examples, Action action);
  // Adds a command to a group, such as `models list`.
  CLI::App& Add(CLI::App& group, const std::string& name, const std::string& description,
                const std::string& examples, Action action);
  // Adds a group, which only has commands below it.
  CLI::App& AddGroup(const std::string& name, const std::string& description);

  // Parses the arguments, runs the command and reports its error. Returns the exit code.
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
void AddQuantizationCommands(CommandLine& line, CLI::App& models);  // in the group `models`
void AddQuantizeCommand(CommandLine& line);
void AddServeCommand(CommandLine& line);
void AddStatesCommands(CommandLine& line);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_COMMAND_H_
