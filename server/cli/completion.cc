#include "server/cli/completion.h"

#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace whipsnake::server {
namespace {

// Calls `visit` for the command and all below it, with the words that lead there: "models list".
void VisitCommands(
    const CommandDescription& command, const std::string& path,
    const std::function<void(const std::string& path, const CommandDescription&)>& visit) {
  visit(path, command);
  for (const CommandDescription& below : command.commands) {
    VisitCommands(below, absl::StrCat(path, path.empty() ? "" : " ", below.name), visit);
  }
}

// The commands below a command, and its options.
std::vector<std::string> WordsOf(const CommandDescription& command) {
  std::vector<std::string> words;
  for (const CommandDescription& below : command.commands) words.push_back(below.name);
  for (const OptionDescription& option : command.options) {
    if (!option.is_positional()) words.push_back(option.name);
  }
  return words;
}

std::string InSingleQuotes(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

}  // namespace

std::string BashCompletion(const CommandDescription& root) {
  std::string steps, words, choices;
  VisitCommands(root, "", [&](const std::string& path, const CommandDescription& command) {
    if (!path.empty()) absl::StrAppend(&steps, steps.empty() ? "" : "|", "'", path, "'");
    absl::StrAppend(&words, "    '", path, "') words='", absl::StrJoin(WordsOf(command), " "),
                    "' ;;\n");
    for (const OptionDescription& option : command.options) {
      if (option.choices.empty()) continue;
      absl::StrAppend(&choices, "    '", path, path.empty() ? "" : " ", option.name, "') words='",
                      absl::StrJoin(option.choices, " "), "' ;;\n");
    }
  });
  return absl::StrCat(
      "# Completes whipsnake's commands and options in bash; a value that is none of a few is\n"
      "# completed as a file name.\n"
      "_whipsnake() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  local path='' words='' i\n"
      "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
      "    case \"${path:+$path }${COMP_WORDS[i]}\" in\n"
      "      ",
      steps,
      ") path=\"${path:+$path }${COMP_WORDS[i]}\" ;;\n"
      "    esac\n"
      "  done\n"
      "  case \"$path\" in\n",
      words,
      "  esac\n"
      "  case \"${path:+$path }$before\" in\n",
      choices,
      "  esac\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
      "}\n"
      "complete -o default -F _whipsnake whipsnake\n");
}

std::string ZshCompletion(const CommandDescription& root) {
  return absl::StrCat(
      "autoload -U +X bashcompinit && bashcompinit\n",
      // zsh has no mapfile.
      absl::StrReplaceAll(BashCompletion(root),
                          {{"in bash;", "in zsh;"},
                           {"mapfile -t COMPREPLY < <(compgen -W \"$words\" -- "
                            "\"$current\")",
                            "COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))"}}));
}

std::string FishCompletion(const CommandDescription& root) {
  std::string script = "# Completes whipsnake's commands and options in fish.\n";
  VisitCommands(root, "", [&](const std::string& path, const CommandDescription& command) {
    std::vector<std::string> below;
    for (const CommandDescription& one : command.commands) below.push_back(one.name);
    std::string here = "__fish_use_subcommand";
    if (!path.empty()) {
      constexpr char kSeen[] = "__fish_seen_subcommand_from ";
      here = absl::StrCat(kSeen, absl::StrReplaceAll(path, {{" ", absl::StrCat("; and ", kSeen)}}));
    }
    const std::string group = path.empty() || below.empty()
                                  ? here
                                  : absl::StrCat(here, "; and not __fish_seen_subcommand_from ",
                                                 absl::StrJoin(below, " "));
    for (const CommandDescription& one : command.commands) {
      absl::StrAppend(&script, "complete -c whipsnake -f -n '", group, "' -a ", one.name, " -d ",
                      InSingleQuotes(one.description), "\n");
    }
    for (const OptionDescription& option : command.options) {
      if (!option.name.starts_with("--")) continue;
      absl::StrAppend(&script, "complete -c whipsnake -n '", here, "' -l ", option.name.substr(2),
                      option.value.empty() ? "" : " -r", " -d ",
                      InSingleQuotes(option.description));
      if (!option.choices.empty()) {
        absl::StrAppend(&script, " -f -a '", absl::StrJoin(option.choices, " "), "'");
      }
      script += "\n";
    }
  });
  return script;
}

}  // namespace whipsnake::server
