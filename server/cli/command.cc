#include "server/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/checkpoint/hub_cache.h"
#include "kernels/cpu/isa.h"
#include "server/cli/argument_errors.h"
#include "server/cli/option_rules.h"
#include "server/version.h"

namespace whipsnake::server {
namespace {

constexpr int kWrongFlags = 2;

// Returns the arguments in the parser's order, the last one first. `help models list` stands for
// `models list --help`.
std::vector<std::string> ArgumentsOf(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments.front() == "help") {
    arguments.erase(arguments.begin());
    arguments.push_back("--help");
  }
  std::ranges::reverse(arguments);
  return arguments;
}

template <typename Value>
absl::StatusOr<Value> ReadValue(const std::string& text) {
  if constexpr (std::is_arithmetic_v<Value>) {
    return ReadNumber<Value>(text);
  } else {
    return text;
  }
}

// How an option's variable takes the texts that were given.
template <typename Value>
struct Target {
  static constexpr bool kIsList = false;
  static absl::Status Set(const std::vector<std::string>& texts, Value& value) {
    ASSIGN_OR_RETURN(value, ReadValue<Value>(texts.front()));
    return absl::OkStatus();
  }
};
template <typename Value>
struct Target<std::optional<Value>> {
  static constexpr bool kIsList = false;
  static absl::Status Set(const std::vector<std::string>& texts, std::optional<Value>& value) {
    ASSIGN_OR_RETURN(value, ReadValue<Value>(texts.front()));
    return absl::OkStatus();
  }
};
template <typename Value>
struct Target<std::vector<Value>> {
  static constexpr bool kIsList = true;
  static absl::Status Set(const std::vector<std::string>& texts, std::vector<Value>& values) {
    values.clear();
    for (const std::string& text : texts) {
      ASSIGN_OR_RETURN(Value value, ReadValue<Value>(text));
      values.push_back(std::move(value));
    }
    return absl::OkStatus();
  }
};

// Where the option's value comes from: the option, or its environment variable.
std::string SourceOf(const CLI::Option& option, const CLI::App& app) {
  const std::vector<CLI::Option*>& given = app.parse_order();
  const bool typed = std::ranges::find(given, &option) != given.end();
  return typed ? option.get_name() : option.get_envname();
}

// Whether the arguments selected the command of these options, or of this group of options. The
// parser gives the values of variables to the options of all commands.
bool IsSelected(const CLI::App& options) {
  const CLI::App* command = &options;
  while (command->get_name().empty() && command->get_parent() != nullptr) {
    command = command->get_parent();
  }
  return command->parsed();
}

// The parser's own conversions take octal numbers, NaN, and numbers that are too large.
template <typename Value>
absl::Status AssignTexts(const std::vector<std::string>& texts, const OptionRules& rules,
                         Value& value) {
  ASSIGN_OR_RETURN(const std::vector<std::string> values, rules.Apply(texts));
  return Target<Value>::Set(values, value);
}

// Writes what is still buffered of the standard output. Returns the error of that or of an earlier
// write.
absl::Status FlushStandardOutput() {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout) return absl::OkStatus();
  constexpr char kMessage[] = "standard output cannot be written";
  return errno != 0 ? absl::ErrnoToStatus(errno, kMessage) : absl::UnavailableError(kMessage);
}

// Adds the first of a command's examples to those of its group.
void AddExample(CLI::App& group, const std::string& examples) {
  group.footer(absl::StrCat(group.get_footer(), examples.substr(0, examples.find('\n') + 1)));
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

Option Option::Describe(const std::string& values) {
  option_->check(CLI::Validator([](std::string&) { return std::string(); }, values));
  return *this;
}

Option Option::IntegerRange(int64_t least, int64_t most) {
  rules_->steps.push_back(IntegerFrom(least, most));
  return Describe(CLI::Range(least, most).get_description());
}

Option Option::RealRange(double least, double most) {
  rules_->steps.push_back(RealFrom(least, most));
  return Describe(CLI::Range(least, most).get_description());
}

Option Option::Positive() {
  rules_->steps.push_back(AboveZero());
  return Describe(CLI::PositiveNumber.get_description());
}

Option Option::Choices(std::vector<std::string> choices) {
  rules_->steps.push_back(OneOf(choices));
  return Describe(CLI::IsMember(std::move(choices)).get_description());
}

Option Option::Check(std::function<absl::Status(const std::string&)> check) {
  rules_->steps.push_back(std::move(check));
  return *this;
}

Option Option::MayBeEmpty() {
  rules_->may_be_empty = true;
  return *this;
}

Option Option::Environment(const std::string& variable) {
  option_->envname(variable);
  return *this;
}

Option Option::ModelDirectory() {
  rules_->steps.push_back([](std::string& text) -> absl::Status {
    const std::string caches[] = {engine::HubCacheRoot()};
    ASSIGN_OR_RETURN(std::string directory, engine::FindModelDirectory(text, caches));
    const std::string searched = engine::CachesWithout(text, caches);
    std::error_code error;
    if (directory == text && !searched.empty() && !std::filesystem::exists(text, error)) {
      return absl::InvalidArgumentError(
          absl::StrCat(engine::Quoted(text),
                       " seen, expected a directory, or a model of this name in ", searched));
    }
    text = std::move(directory);
    return absl::OkStatus();
  });
  return *this;
}

Option Option::Repeatable() {
  option_->allow_extra_args(false);
  return *this;
}

Option Option::CommaSeparated() {
  rules_->comma_separated = true;
  option_->allow_extra_args(false);
  return *this;
}

template <typename Value>
Option OptionGroup::AddOption(const std::string& name, Value& value,
                              const std::string& description) {
  const auto rules = std::make_shared<OptionRules>();
  rules->may_be_repeated = Target<Value>::kIsList;
  const auto self = std::make_shared<CLI::Option*>();
  const auto set = [rules, self, app = app_, &value](const CLI::results_t&) {
    const CLI::Option& option = **self;
    if (!IsSelected(*app)) return true;
    const absl::Status status = AssignTexts(option.results(), *rules, value);
    if (status.ok()) return true;
    throw CLI::ValidationError(SourceOf(option, *app), std::string(status.message()));
  };
  CLI::Option* const option =
      app_->add_option(name, set, description, /*defaulted=*/false,
                       [&value] { return CLI::detail::checked_to_string<Value, Value>(value); });
  *self = option;
  option->type_name(CLI::detail::type_name<Value>());
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);  // the rules say how many
  if (Target<Value>::kIsList) option->expected(CLI::detail::expected_max_vector_size);
  return Option(option, rules);
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
  return WithRules(app_->add_flag(name, value, description));
}

Option OptionGroup::AddSwitch(const std::string& name, std::string& text,
                              const std::string& description) {
  return WithRules(app_->add_flag(name, text, description));
}

Option OptionGroup::WithRules(CLI::Option* flag) {
  const auto rules = std::make_shared<OptionRules>();
  flag->check(CLI::Validator(
      [rules](std::string& text) { return std::string(rules->Apply({text}).status().message()); },
      /*validator_desc=*/""));
  return Option(flag, rules);
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
  if (group.app_ != app_.get()) AddExample(*group.app_, examples);
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
  group->footer("Examples:\n");  // one of each command: Add
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

int CommandLine::RefuseArguments(const absl::Status& reason, bool json) {
  Output(json).Error(reason);
  if (!json) std::cerr << "Try '" << CommandName(*app_) << " --help'.\n";
  return kWrongFlags;
}

int CommandLine::ParseAndRun(int argc, char** argv) {
  try {
    app_->parse(ArgumentsOf(argc, argv));
  } catch (const CLI::ParseError& error) {
    const bool informs = error.get_exit_code() == 0;
    const absl::Status wrong =
        informs ? CheckHelpRequest(*app_) : absl::InvalidArgumentError(Explain(error, *app_));
    return wrong.ok() ? Inform(error) : RefuseArguments(wrong, AsksForJson(argc, argv));
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
