#include "server/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <iostream>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/checkpoint/hub_cache.h"
#include "kernels/cpu/isa.h"
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

// For `whipsnake serv`, CLI11 only says that a subcommand is required. Name the unknown word
// instead.
std::string Explain(const CLI::ParseError& error, const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (error.get_name() == "RequiredError" && !unknown.empty()) {
    return "there is no command or flag '" + unknown.front() + "'";
  }
  return error.what();
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

Option Option::ByteSize() {
  option_->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
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
  return Option(app_->add_option(name, value, description));
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

OptionGroup Command::AddOneOf(const std::string& heading, const std::string& description) {
  CLI::Option_group* group = app_->add_option_group(heading, description);
  group->require_option(1);
  return OptionGroup(group);
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
  command->callback([this, action = std::move(action)] { chosen_ = action; });
  return Command(command);
}

CommandGroup CommandLine::AddGroup(const std::string& name, const std::string& description) {
  CLI::App* group = app_->add_subcommand(name, description);
  group->require_subcommand(1);
  return CommandGroup(group);
}

int CommandLine::Run(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app_->exit(error);  // --help and --version
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
