// whipsnake version
#include "server/version.h"

#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "kernels/cpu/isa.h"
#include "server/cli/command.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<int> PrintVersion(const Output& output) {
  const std::string isa(kernels::Name(kernels::ActiveIsa()));
  const std::string machine(kernels::Name(kernels::MachineIsa()));
  if (output.json()) {
    output.Object({{"version", Version()},
                   {"commit", Commit()},
                   {"compiler", __VERSION__},
                   {"isa", isa},
                   {"machine_isa", machine}});
    return 0;
  }
  std::cout << absl::StrCat("whipsnake ", engine::ToAbsl(Version()), " (", engine::ToAbsl(Commit()),
                            ")\ncompiled by ", __VERSION__, "\ncomputes with ", isa, ", of ",
                            machine, "\n");
  return 0;
}

}  // namespace

void AddVersionCommand(CommandLine& line) {
  line.Add("version", "Prints the version, and what the program computes with",
           "  whipsnake version\n"
           "  whipsnake version --json\n",
           PrintVersion);
}

}  // namespace whipsnake::server
