// Versions of models as the commands print them.
#ifndef WHIPSNAKE_SERVER_CLI_VERSION_OUTPUT_H_
#define WHIPSNAKE_SERVER_CLI_VERSION_OUTPUT_H_

#include <string>
#include <vector>

#include "server/cli/output.h"
#include "whipsnake/v1/model.pb.h"

namespace whipsnake::server {

Json VersionJson(const v1::ModelVersion& version);
std::string VersionsTable(const std::vector<v1::ModelVersion>& versions);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_VERSION_OUTPUT_H_
