// What is wrong with arguments that the parser refuses, said for the person who typed them.
#ifndef WHIPSNAKE_SERVER_CLI_ARGUMENT_ERRORS_H_
#define WHIPSNAKE_SERVER_CLI_ARGUMENT_ERRORS_H_

#include <string>

#include "absl/status/status.h"

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace whipsnake::server {

// All of them take the root after it has parsed the arguments, also if it refused them.

// Returns the command that the arguments selected.
const CLI::App& Selected(const CLI::App& app);

// Returns its name, as typed: "whipsnake models load".
std::string CommandName(const CLI::App& app);

// Returns the message of an error: it names an unknown word, and what that may have meant.
std::string Explain(const CLI::ParseError& error, const CLI::App& app);

// Returns what is wrong with a request for help: a command that there is not, or letters after -h.
// An unknown option is overlooked, because help is the answer to it.
absl::Status CheckHelpRequest(const CLI::App& app);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_ARGUMENT_ERRORS_H_
