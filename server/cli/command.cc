#include "server/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "engine/checkpoint/hub_cache.h"
#include "kernels/cpu/isa.h"
#include "server/suggestion.h"
#include "server/version.h"

namespace whipsnake::server {
namespace {

constexpr int kWrongFlags = 2;

// Returns the command that the arguments selected, as typed: "whipsnake models load".
std::string CommandName(const CLI::App& app) {
  std::string name = app.get_name();
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) {
    current = current->get_subcommands().front();
    name += " " + current->get_name();
  }
  return name;
}

// The command that the arguments selected.
const CLI::App& Selected(const CLI::App& app) {
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) current = current->get_subcommands().front();
  return *current;
}

OptionDescription DescriptionOf(const CLI::Option& option) {
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

CommandDescription DescriptionOf(const CLI::App& app) {
  CommandDescription description{.name = app.get_name(),
                                 .description = app.get_description(),
                                 .examples = app.get_footer(),
                                 .options = {},
                                 .commands = {}};
  for (const CLI::Option* option : app.get_options()) {
    description.options.push_back(DescriptionOf(*option));
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

// What could stand where a word does that the command does not know: one of its options, which are
// those of the root too, or a command below it.
std::vector<std::string> KnownWords(const CLI::App& app, bool options) {
  const CommandDescription root = DescriptionOf(app), command = DescriptionOf(Selected(app));
  std::vector<std::string> words;
  if (!options) {
    for (const CommandDescription& below : command.commands) words.push_back(below.name);
    return words;
  }
  for (const auto* description : {&command, &root}) {
    for (const OptionDescription& option : description->options) {
      if (!option.is_positional()) words.push_back(option.name);
    }
  }
  return words;
}

// For `whipsnake serv`, CLI11 only says that a subcommand is required, and for an unknown option
// that an argument was not expected. Name the unknown word, and what it may have meant.
std::string Explain(const CLI::ParseError& error, const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  const auto code = static_cast<CLI::ExitCodes>(error.get_exit_code());
  const bool of_words =
      code == CLI::ExitCodes::RequiredError || code == CLI::ExitCodes::ExtrasError;
  if (!of_words || unknown.empty()) return error.what();
  // The value of an unknown option may be among the words.
  auto found =
      std::ranges::find_if(unknown, [](const auto& each) { return each.starts_with("-"); });
  const bool is_option = found != unknown.end();
  if (!is_option) found = unknown.begin();
  const std::string word = found->substr(0, found->find('='));
  const std::vector<std::string> known = KnownWords(app, is_option);
  if (!is_option && known.empty()) {
    return absl::StrCat("argument '", word, "' was not expected; quote a text that has spaces");
  }
  const std::string nearest = NearestWord(word, known);
  return absl::StrCat("there is no ", is_option ? "option" : "command", " '", word, "'",
                      nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"));
}

// Throws if an option's environment variable has a value that the option refuses, which later
// versions of CLI11 ignore.
void CheckVariables(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_envname().empty() || option->count() > 0) continue;
    const char* const value = std::getenv(option->get_envname().c_str());
    if (value == nullptr || *value == 0) continue;
    throw CLI::ValidationError(option->get_envname(),
                               absl::StrCat(engine::Quoted(value), " seen, expected a value that ",
                                            option->get_name(), " takes"));
  }
}

// CLI11 reads "-4" as a huge unsigned number and cuts numbers that are too large.
template <std::integral Number>
absl::Status CheckInteger(const std::string& text) {
  Number number;
  if (absl::SimpleAtoi(text, &number)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(engine::Quoted(text), " seen, expected an integer from ",
                   std::numeric_limits<Number>::min(), " to ", std::numeric_limits<Number>::max()));
}

// The type of one value of an option.
template <typename Value>
struct ElementOf {
  using Type = Value;
};
template <typename Value>
struct ElementOf<std::optional<Value>> {
  using Type = Value;
};
template <typename Value>
struct ElementOf<std::vector<Value>> {
  using Type = Value;
};

// Writes what is still buffered of the standard output. Returns the error of that or of an earlier
// write.
absl::Status FlushStandardOutput() {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout) return absl::OkStatus();
  constexpr char kMessage[] = "standard output cannot be written";
  return errno != 0 ? absl::ErrnoToStatus(errno, kMessage) : absl::UnavailableError(kMessage);
}

bool AsksForJson(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc,
                     [](const char* argument) { return std::string_view(argument) == "--json"; });
}

}  // namespace

Option Option::TypeName(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option Option::ShowDefault() {
  option_->capture_default_str();
  return *this;
}

Option Option::ShowDefault(const std::string& text) {
  option_->default_str(text);
  return *this;
}

Option Option::Heading(const std::string& heading) {
  option_->group(heading);
  return *this;
}

Option Option::Required() {
  option_->required();
  return *this;
}

Option Option::Excludes(Option other) {
  option_->excludes(other.option_);
  return *this;
}

Option Option::Needs(Option other) {
  option_->needs(other.option_);
  return *this;
}

Option Option::IntegerRange(int64_t least, int64_t most) {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option Option::RealRange(double least, double most) {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option Option::Positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

Option Option::Choices(std::vector<std::string> choices) {
  option_->check(CLI::IsMember(std::move(choices)));
  return *this;
}

Option Option::Check(std::function<absl::Status(const std::string&)> check) {
  option_->check(CLI::Validator(
      [check = std::move(check)](std::string& value) {
        return std::string(check(value).message());  // "": it is right
      },
      /*validator_desc=*/""));
  return *this;
}

Option Option::Environment(const std::string& variable) {
  option_->envname(variable);
  return *this;
}

Option Option::ModelDirectory() {
  const auto resolve = [](std::string& text) -> std::string {
    const std::string caches[] = {engine::HubCacheRoot()};
    const auto directory = engine::FindModelDirectory(text, caches);
    if (!directory.ok()) return std::string(directory.status().message());
    text = *directory;
    return "";
  };
  option_->transform(CLI::Validator(resolve, ""));
  return *this;
}

Option Option::Repeatable() {
  option_->allow_extra_args(false);
  return *this;
}

Option Option::CommaSeparated() {
  option_->delimiter(',')->allow_extra_args(false);
  return *this;
}

template <typename Value>
Option OptionGroup::AddOption(const std::string& name, Value& value,
                              const std::string& description) {
  using Element = typename ElementOf<Value>::Type;
  Option option(app_->add_option(name, value, description));
  if constexpr (std::integral<Element>) option.Check(CheckInteger<Element>);
  return option;
}

template Option OptionGroup::AddOption(const std::string&, std::string&, const std::string&);
template Option OptionGroup::AddOption(const std::string&, int32_t&, const std::string&);
template Option OptionGroup::AddOption(const std::string&, int64_t&, const std::string&);
template Option OptionGroup::AddOption(const std::string&, uint64_t&, const std::string&);
template Option OptionGroup::AddOption(const std::string&, float&, const std::string&);
template Option OptionGroup::AddOption(const std::string&, double&, const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::optional<std::string>&,
                                       const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::optional<int32_t>&,
                                       const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::optional<int64_t>&,
                                       const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::optional<uint64_t>&,
                                       const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::optional<float>&,
                                       const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::optional<double>&,
                                       const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::vector<std::string>&,
                                       const std::string&);
template Option OptionGroup::AddOption(const std::string&, std::vector<int32_t>&,
                                       const std::string&);

Option OptionGroup::AddFlag(const std::string& name, bool& value, const std::string& description) {
  return Option(app_->add_flag(name, value, description));
}

Option OptionGroup::AddSwitch(const std::string& name, std::string& text,
                              const std::string& description) {
  return Option(app_->add_flag(name, text, description));
}

OptionGroup Command::AddOneOf(const std::string& heading, const std::string& description) {
  CLI::Option_group* group = app_->add_option_group(heading, description);
  group->require_option(1);
  return OptionGroup(group);
}

void Command::Prepare(std::function<absl::Status()> prepare) {
  steps_->push_back(std::move(prepare));
}

CommandLine::CommandLine()
    : app_(std::make_unique<CLI::App>(
          "Serves Mamba and GPT-2 language models over gRPC, and is a client for such a server.",
          "whipsnake")) {
  app_->set_version_flag("--version", absl::StrCat("whipsnake ", engine::ToAbsl(Version()), " (",
                                                   engine::ToAbsl(Commit()), ")"));
  app_->add_option("--isa", isa_,
                   "Uses no better instruction set than this: scalar, avx2, avx512, vnni or amx")
      ->check(CLI::IsMember({"scalar", "avx2", "avx512", "vnni", "amx"}))
      ->type_name("ISA");
  app_->require_subcommand(1);
  app_->fallthrough();  // allows --isa after the subcommand too
  app_->footer(
      "Examples:\n"
      "  whipsnake serve --model demo=deploy/models/mamba-demo\n"
      "  whipsnake generate --model demo \"It was a bright cold day\"\n"
      "'whipsnake COMMAND --help' explains each command.");
}

CommandLine::~CommandLine() = default;

Command CommandLine::Add(const std::string& name, const std::string& description,
                         const std::string& examples, Action action) {
  return Add(CommandGroup(app_.get()), name, description, examples, std::move(action));
}

Command CommandLine::Add(CommandGroup group, const std::string& name,
                         const std::string& description, const std::string& examples,
                         Action action) {
  CLI::App* command = group.app_->add_subcommand(name, description);
  command->add_flag("--json", json_, "Prints only JSON, one object on one line");
  command->footer("Examples:\n" + examples);
  const auto steps = std::make_shared<Command::Steps>();
  command->callback([this, steps, action = std::move(action)] {
    chosen_ = [steps, action](const Output& output) -> absl::StatusOr<int> {
      for (const auto& step : *steps) RETURN_IF_ERROR(step());
      return action(output);
    };
  });
  return Command(command, steps);
}

CommandGroup CommandLine::AddGroup(const std::string& name, const std::string& description) {
  CLI::App* group = app_->add_subcommand(name, description);
  group->require_subcommand(1);
  return CommandGroup(group);
}

CommandDescription CommandLine::Describe() const { return DescriptionOf(*app_); }

void CommandLine::AddHelpNote(Command command, std::function<std::string()> note) {
  help_notes_[command.app_] = std::move(note);
}

int CommandLine::Inform(const CLI::ParseError& request) {
  const int code = app_->exit(request);
  const auto note = help_notes_.find(&Selected(*app_));
  if (note != help_notes_.end()) std::cout << note->second();
  return code;
}

int CommandLine::Run(int argc, char** argv) {
  const int code = ParseAndRun(argc, argv);
  const absl::Status written = FlushStandardOutput();
  if (written.ok()) return code;
  Output(/*json=*/false).Error(written);
  return code != 0 ? code : 1;
}

int CommandLine::ParseAndRun(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
    CheckVariables(Selected(*app_));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return Inform(error);
    const Output output(AsksForJson(argc, argv));
    output.Error(absl::InvalidArgumentError(Explain(error, *app_)));
    if (!output.json()) std::cerr << "Try '" << CommandName(*app_) << " --help'.\n";
    return kWrongFlags;
  }
  if (!isa_.empty()) kernels::CapIsa(*kernels::ParseIsa(isa_));

  const Output output(json_);
  absl::StatusOr<int> code = absl::InternalError("the command did nothing");
  try {
    code = chosen_(output);
  } catch (const std::exception& error) {  // libraries throw, for example if memory is exhausted
    code = absl::InternalError(error.what());
  }
  if (code.ok()) return *code;
  output.Error(code.status());
  return 1;
}

}  // namespace whipsnake::server
