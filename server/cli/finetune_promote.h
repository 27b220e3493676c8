// whipsnake finetune promote
#ifndef WHIPSNAKE_SERVER_CLI_FINETUNE_PROMOTE_H_
#define WHIPSNAKE_SERVER_CLI_FINETUNE_PROMOTE_H_

#include "server/cli/command.h"

namespace whipsnake::server {

void AddPromoteCommand(CommandLine& line, CommandGroup finetune);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_FINETUNE_PROMOTE_H_
