// What a model of a server makes of options that are not given.
#ifndef WHIPSNAKE_SERVER_CLI_MODEL_DEFAULTS_H_
#define WHIPSNAKE_SERVER_CLI_MODEL_DEFAULTS_H_

#include <string>
#include <utility>
#include <vector>

#include "server/cli/client.h"
#include "whipsnake/v1/generation.pb.h"

namespace whipsnake::server {

// Returns the options of `generate` with their values: {"--temperature", "0.8"}.
std::vector<std::pair<std::string, std::string>> DefaultsOf(const v1::GenerationDefaults& defaults);

// Asks the server, for at most a second, for the defaults of the model. Returns a text for the end
// of --help, or "" without a model's name. If the server does not answer, the text says so.
std::string DefaultsNote(const ClientFlags& flags, const std::string& model);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_MODEL_DEFAULTS_H_
