// How a subcommand of `whipsnake` is declared.
//
// A command file defines one of the functions listed below. It adds the command and its options:
//
//   void AddPingCommand(CommandLine& line) {
//     auto flags = std::make_shared<PingFlags>();
//     Command command = line.Add(
//         "ping", "Checks that the server answers",
//         "  whipsnake ping --server 127.0.0.1:8500\n",
//         [flags](const Output& output) { return Ping(*flags, output); });
//     command.AddOption("--server", flags->server, "The server's address").ShowDefault();
//   }
//
// The parser, CLI11, is only used in command.cc, because its headers take seconds to compile.
#ifndef WHIPSNAKE_SERVER_CLI_COMMAND_H_
#define WHIPSNAKE_SERVER_CLI_COMMAND_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/cli/command_tree.h"
#include "server/cli/output.h"

namespace CLI {
class App;
class Option;
class ParseError;
}  // namespace CLI

namespace whipsnake::server {

struct OptionRules;

// The types up to CommandGroup are handles: cheap to copy, and valid as long as their CommandLine.

// An option of a command, with a value or without one, or a positional argument.
class Option {
 public:
  // Names the value in --help ("FILE"). Without it, --help names the value's type.
  Option TypeName(const std::string& name);
  // Shows the variable's current value as the default in --help, or this text.
  Option ShowDefault();
  Option ShowDefault(const std::string& text);
  // Lists the option under this heading in --help.
  Option Heading(const std::string& heading);

  Option Required();
  // Refuses the option together with `other`.
  Option Excludes(Option other);
  // Refuses the option without `other`.
  Option Needs(Option other);

  // What a value may be; other values are refused. --help shows it unless there is a TypeName. Both
  // bounds of a range are included. Numbers are decimal, and neither NaN nor infinite.
  Option IntegerRange(int64_t least, int64_t most);
  Option RealRange(double least, double most);
  Option Positive();
  Option Choices(std::vector<std::string> choices);
  // Refuses a value for which `check` returns an error, and shows its message.
  Option Check(std::function<absl::Status(const std::string&)> check);
  // Takes "", which is refused without it: it is mostly a variable of the shell that is not set.
  Option MayBeEmpty();
  // Takes the value from this environment variable if the option is not given.
  Option Environment(const std::string& variable);
  // Accepts model directories, and models of a cache of the Hugging Face hub by their path or as
  // Org/Name, which become the directories that they stand for.
  Option ModelDirectory();

  // For a vector: each use of the option adds one value; the next argument is not part of it.
  // Without it, the option takes all arguments up to the next option.
  Option Repeatable();
  // For a vector: one argument has the values, with commas between them.
  Option CommaSeparated();

 private:
  friend class OptionGroup;
  Option(CLI::Option* option, std::shared_ptr<OptionRules> rules)
      : option_(option), rules_(std::move(rules)) {}
  // Shows in --help what the values may be.
  Option Describe(const std::string& values);

  CLI::Option* option_;
  std::shared_ptr<OptionRules> rules_;  // also in the parser
};

// A set of options: those of a command, or a part of them.
class OptionGroup {
 public:
  // Adds an option that sets `value`, which must outlive the CommandLine. `name` starts with "--";
  // without dashes it is a positional argument. An option that is not given leaves `value` as it
  // is. An option whose Value is no vector may be given once. Value is one of std::string, int32_t,
  // int64_t, uint64_t, float, double; std::optional of these; std::vector of std::string or
  // int32_t.
  template <typename Value>
  Option AddOption(const std::string& name, Value& value, const std::string& description);
  // Adds an option without a value, which sets `value` to true.
  Option AddFlag(const std::string& name, bool& value, const std::string& description);
  // Adds an option that sets `text` to "true"; as --NAME=false to "false".
  Option AddSwitch(const std::string& name, std::string& text, const std::string& description);

 protected:
  friend class Command;
  explicit OptionGroup(CLI::App* app) : app_(app) {}
  static Option WithRules(CLI::Option* flag);

  CLI::App* app_;
};

class Command : public OptionGroup {
 public:
  // Adds options of which exactly one must be given, under a heading of their own in --help.
  OptionGroup AddOneOf(const std::string& heading, const std::string& description);
  // Calls `prepare` once the options are parsed, before the command runs. The command does not run
  // if it returns an error, which is reported like one of the command.
  void Prepare(std::function<absl::Status()> prepare);

 private:
  friend class CommandLine;
  using Steps = std::vector<std::function<absl::Status()>>;
  Command(CLI::App* app, std::shared_ptr<Steps> steps)
      : OptionGroup(app), steps_(std::move(steps)) {}

  std::shared_ptr<Steps> steps_;  // before the command
};

// A word with commands below it, such as `models`.
class CommandGroup {
 private:
  friend class CommandLine;
  explicit CommandGroup(CLI::App* app) : app_(app) {}

  CLI::App* app_;
};

// Runs a command once its options are parsed. Returns the process's exit code: 0 for success, 1 for
// a negative answer (a server that is not healthy). If it returns an error, the caller prints the
// error and the exit code is 1. Exit code 2 is only for wrong options.
using Action = std::function<absl::StatusOr<int>(const Output& output)>;

// The tree of commands, and, after Run, the selected one. Not thread-safe.
class CommandLine {
 public:
  CommandLine();
  ~CommandLine();

  // Adds a command, with --json besides its own options. `examples` are printed at the end of its
  // --help: one per line, indented by two. The variables that `action` reads must live as long as
  // `action`. To refuse a combination of options that Option cannot express, return
  // INVALID_ARGUMENT from the action.
  Command Add(const std::string& name, const std::string& description, const std::string& examples,
              Action action);
  // Adds a command to a group, such as `models list`.
  Command Add(CommandGroup group, const std::string& name, const std::string& description,
              const std::string& examples, Action action);
  CommandGroup AddGroup(const std::string& name, const std::string& description);

  // Adds a text to the end of the command's --help. It is made when the help is printed, after the
  // options that were given with it have been parsed; "" adds nothing.
  void AddHelpNote(Command command, std::function<std::string()> note);

  // All that has been added.
  CommandDescription Describe() const;

  // Parses the arguments, runs the command and reports its error, which includes that of a standard
  // output that cannot be written. Returns the exit code.
  int Run(int argc, char** argv);

 private:
  // Prints what --help or --version asked for. Returns the exit code.
  int Inform(const CLI::ParseError& request);
  // Prints what is wrong with the arguments. Returns the exit code.
  int RefuseArguments(const absl::Status& reason, bool json);
  // Returns the exit code of Run but for the standard output's error.
  int ParseAndRun(int argc, char** argv);

  std::unique_ptr<CLI::App> app_;
  bool json_ = false;
  std::string isa_;
  Action chosen_;
  std::map<const CLI::App*, std::function<std::string()>> help_notes_;
};

void AddBenchCommand(CommandLine& line);
void AddChatCommand(CommandLine& line);
void AddCheckConfigCommand(CommandLine& line);
void AddConvertCommand(CommandLine& line);
void AddDatasetsCommands(CommandLine& line);
void AddDocumentCommands(CommandLine& line);
void AddEvaluateCommand(CommandLine& line);
void AddFinetuneCommands(CommandLine& line);
void AddGenerateCommand(CommandLine& line);
void AddHealthCommand(CommandLine& line);
void AddInitCommand(CommandLine& line);
void AddLoadCommand(CommandLine& line);
void AddModelsCommands(CommandLine& line);
void AddQuantizationCommands(CommandLine& line, CommandGroup models);
void AddQuantizeCommand(CommandLine& line);
void AddServeCommand(CommandLine& line);
void AddServerCommands(CommandLine& line);
void AddStatesCommands(CommandLine& line);
void AddTokenCommands(CommandLine& line);
void AddTokensCommands(CommandLine& line);
void AddTrainCommand(CommandLine& line);
void AddVersionCommand(CommandLine& line);
void AddVersionCommands(CommandLine& line, CommandGroup models);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_COMMAND_H_
