#include "server/cli/manual_page.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "server/version.h"

namespace whipsnake::server {
namespace {

// Escapes what troff would read as its own.
std::string Escaped(std::string_view text) {
  std::string escaped = absl::StrReplaceAll(engine::ToAbsl(text), {{"\\", "\\e"}, {"-", "\\-"}});
  if (escaped.starts_with(".") || escaped.starts_with("'")) escaped.insert(0, "\\&");
  return escaped;
}

// Lines as they are.
std::string Verbatim(const std::string& text) {
  std::string lines = ".nf\n";
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::StrAppend(&lines, Escaped(std::string(line)), "\n");
  }
  return lines + ".fi\n";
}

std::string OptionText(const OptionDescription& option) {
  std::string text =
      absl::StrCat(".TP\n\\fB", Escaped(option.name), "\\fR",
                   option.value.empty() ? "" : absl::StrCat(" \\fI", Escaped(option.value), "\\fR"),
                   "\n", Escaped(option.description));
  if (option.required) text += " (required)";
  if (!option.default_value.empty()) {
    absl::StrAppend(&text, " (default: ", Escaped(option.default_value), ")");
  }
  if (!option.environment.empty()) {
    absl::StrAppend(&text, " (or the variable ", Escaped(option.environment), ")");
  }
  return text + "\n";
}

// The command, if it does something itself, and all below it.
std::string CommandText(const CommandDescription& command, const std::string& path) {
  std::string text;
  if (command.commands.empty()) {
    absl::StrAppend(&text, ".SS ", Escaped(path), "\n", Escaped(command.description), ".\n");
    for (const OptionDescription& option : command.options) text += OptionText(option);
    absl::StrAppend(&text, ".PP\n", Verbatim(command.examples));
  }
  for (const CommandDescription& below : command.commands) {
    text += CommandText(below, absl::StrCat(path, " ", below.name));
  }
  return text;
}

}  // namespace

std::string ManualPage(const CommandDescription& root) {
  std::string page = absl::StrCat(
      ".TH WHIPSNAKE 1 \"\" \"whipsnake ", Escaped(Version()),
      "\" \"User Commands\"\n.SH NAME\nwhipsnake \\- serves, quantizes and fine\\-tunes language "
      "models\n.SH SYNOPSIS\n.B whipsnake\n\\fICOMMAND\\fR [\\fIOPTION\\fR]...\n.SH DESCRIPTION\n",
      Escaped(root.description), "\n.SH OPTIONS\n");
  for (const OptionDescription& option : root.options) page += OptionText(option);
  page += ".SH COMMANDS\n";
  for (const CommandDescription& below : root.commands) page += CommandText(below, below.name);
  return page +
         ".SH EXIT STATUS\n0 for success, 1 for an error or a negative answer, 2 for wrong "
         "options, "
         "130 after Ctrl\\-C.\n";
}

}  // namespace whipsnake::server
