// whipsnake completion and man: what is made from the definitions of the commands
#include <iostream>
#include <memory>
#include <string>

#include "server/cli/command.h"
#include "server/cli/completion.h"
#include "server/cli/manual_page.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<int> Print(const std::string& text, const Output& output) {
  if (output.json()) {
    output.Object({{"text", text}});
  } else {
    std::cout << text;
  }
  return 0;
}

std::string Completion(const std::string& shell, const CommandDescription& root) {
  if (shell == "zsh") return ZshCompletion(root);
  return shell == "fish" ? FishCompletion(root) : BashCompletion(root);
}

}  // namespace

void AddDocumentCommands(CommandLine& line) {
  auto shell = std::make_shared<std::string>();
  line.Add("completion", "Prints a script that completes commands and options in a shell",
           "  source <(whipsnake completion bash)\n"
           "  whipsnake completion fish > ~/.config/fish/completions/whipsnake.fish\n",
           [shell, &line](const Output& output) {
             return Print(Completion(*shell, line.Describe()), output);
           })
      .AddOption("shell", *shell, "bash, zsh or fish")
      .Choices({"bash", "zsh", "fish"})
      .Required();
  line.Add("man", "Prints the manual page",
           "  whipsnake man | man -l -\n"
           "  whipsnake man > /usr/local/share/man/man1/whipsnake.1\n",
           [&line](const Output& output) { return Print(ManualPage(line.Describe()), output); });
}

}  // namespace whipsnake::server
