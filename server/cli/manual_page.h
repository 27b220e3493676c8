// The manual page of `whipsnake`.
#ifndef WHIPSNAKE_SERVER_CLI_MANUAL_PAGE_H_
#define WHIPSNAKE_SERVER_CLI_MANUAL_PAGE_H_

#include <string>

#include "server/cli/command_tree.h"

namespace whipsnake::server {

// In the language of man(7), for section 1: every command with its options and examples.
std::string ManualPage(const CommandDescription& root);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_MANUAL_PAGE_H_
