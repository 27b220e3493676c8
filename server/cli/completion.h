// Scripts that complete the commands and options of `whipsnake` in shells.
#ifndef WHIPSNAKE_SERVER_CLI_COMPLETION_H_
#define WHIPSNAKE_SERVER_CLI_COMPLETION_H_

#include <string>

#include "server/cli/command_tree.h"

namespace whipsnake::server {

std::string BashCompletion(const CommandDescription& root);
std::string ZshCompletion(const CommandDescription& root);
std::string FishCompletion(const CommandDescription& root);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_COMPLETION_H_
