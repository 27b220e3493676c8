#include "server/cli/argument_errors.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "server/cli/command_tree.h"
#include "server/suggestion.h"

namespace whipsnake::server {
namespace {

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

// What other programs name as the first is the second here.
constexpr std::pair<const char*, const char*> kNamesElsewhere[] = {
    {"--port", "--listen"},    {"--host", "--listen"},
    {"--bind", "--listen"},    {"--address", "--listen"},
    {"--port", "--server"},    {"--host", "--server"},
    {"--address", "--server"}, {"--max-new-tokens", "--max-tokens"}};

// Returns the known word that an unknown one may have meant, or "".
std::string MeantWord(const std::string& word, const std::vector<std::string>& known) {
  for (const auto& [name, ours] : kNamesElsewhere) {
    if (word == name && std::ranges::find(known, ours) != known.end()) return ours;
  }
  return NearestWord(word, known);
}

// Explains an argument too many of a command.
std::string ExplainArgument(const std::string& word, const CLI::App& command) {
  std::vector<std::string> arguments;
  bool takes_text = false;
  for (const OptionDescription& option : DescriptionOf(command).options) {
    if (!option.is_positional()) continue;
    arguments.push_back(option.name);
    takes_text |= option.value == "TEXT";
  }
  return absl::StrCat(
      "argument ", engine::Quoted(word), " was not expected",
      takes_text ? "; quote a text that has spaces" : "",
      takes_text || arguments.empty()
          ? ""
          : absl::StrCat("; the command takes ", absl::StrJoin(arguments, " and ")));
}

// Explains the first of the words that the parser does not know, which may be values of unknown
// options.
std::string ExplainUnknown(const std::vector<std::string>& unknown, const CLI::App& app) {
  auto found =
      std::ranges::find_if(unknown, [](const auto& each) { return each.starts_with("-"); });
  const bool is_option = found != unknown.end();
  if (!is_option) found = unknown.begin();
  const std::string word = found->substr(0, found->find('='));
  const std::vector<std::string> known = KnownWords(app, is_option);
  if (!is_option && known.empty()) return ExplainArgument(word, Selected(app));
  const std::string meant = MeantWord(word, known);
  return absl::StrCat("there is no ", is_option ? "option" : "command", " '", word, "'",
                      meant.empty() ? "" : absl::StrCat("; did you mean '", meant, "'?"));
}

}  // namespace

std::string CommandName(const CLI::App& app) {
  std::string name = app.get_name();
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) {
    current = current->get_subcommands().front();
    name += " " + current->get_name();
  }
  return name;
}

const CLI::App& Selected(const CLI::App& app) {
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) current = current->get_subcommands().front();
  return *current;
}

// For `whipsnake serv`, CLI11 only says that a subcommand is required, and for an unknown option
// that an argument was not expected. Name the unknown word, and what it may have meant.
std::string Explain(const CLI::ParseError& error, const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  const auto code = static_cast<CLI::ExitCodes>(error.get_exit_code());
  const bool of_words =
      code == CLI::ExitCodes::RequiredError || code == CLI::ExitCodes::ExtrasError;
  return of_words && !unknown.empty() ? ExplainUnknown(unknown, app) : error.what();
}

absl::Status CheckHelpRequest(const CLI::App& app) {
  const bool has_commands = !KnownWords(app, /*options=*/false).empty();
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  for (const std::string& word : unknown) {
    const bool is_word = !word.starts_with("-"), is_letter = !is_word && !word.starts_with("--");
    if ((is_word && has_commands) || is_letter) {
      return absl::InvalidArgumentError(ExplainUnknown({word}, app));
    }
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::server
