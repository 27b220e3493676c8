// whipsnake models versions|alias|unalias|rollback|delete-version
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/unary_call.h"
#include "server/cli/version_output.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {
namespace {

using google::protobuf::util::TimeUtil;
using VersionStub = v1::ModelService::StubInterface;

struct VersionFlags {
  ClientFlags client;
  std::string name;
  int64_t version = 0;
  std::optional<int64_t> back_to;
  bool keep_loaded = false;
};

void Print(const v1::ModelVersion& version, const Output& output) {
  if (output.json()) {
    output.Object({{"version", VersionJson(version)}});
  } else {
    std::cout << VersionsTable({version});
  }
}

absl::StatusOr<int> Versions(const VersionFlags& flags, const Output& output) {
  std::vector<v1::ModelVersion> versions;
  v1::ListModelVersionsRequest request;
  request.set_name(flags.name);
  v1::ListModelVersionsResponse response;
  do {
    ASSIGN_OR_RETURN(response, UnaryCall<v1::ModelService>(
                                   flags.client, &VersionStub::ListModelVersions, request));
    versions.insert(versions.end(), response.versions().begin(), response.versions().end());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());

  if (!output.json()) {
    std::cout << VersionsTable(versions);
    return 0;
  }
  Json list = Json::array(), history = Json::array();
  for (const v1::ModelVersion& version : versions) list.push_back(VersionJson(version));
  for (const v1::ServedVersion& served : response.history()) {
    history.push_back({{"version", served.version()}, {"time", TimeUtil::ToString(served.time())}});
  }
  output.Object({{"versions", list}, {"history", history}, {"etag", response.etag()}});
  return 0;
}

absl::StatusOr<int> SetAlias(const VersionFlags& flags, const Output& output) {
  v1::SetModelAliasRequest request;
  request.set_alias(flags.name);
  request.set_version(flags.version);
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::ModelService>(flags.client, &VersionStub::SetModelAlias, request));
  Print(response.version(), output);
  return 0;
}

absl::StatusOr<int> DeleteAlias(const VersionFlags& flags, const Output& output) {
  v1::DeleteModelAliasRequest request;
  request.set_alias(flags.name);
  RETURN_IF_ERROR(
      UnaryCall<v1::ModelService>(flags.client, &VersionStub::DeleteModelAlias, request).status());
  if (output.json()) {
    output.Object({{"deleted", flags.name}});
  } else {
    std::cout << "Deleted the alias " << flags.name << ".\n";
  }
  return 0;
}

absl::StatusOr<int> RollBack(const VersionFlags& flags, const Output& output) {
  v1::RollBackModelRequest request;
  request.set_name(flags.name);
  request.set_keep_loaded(flags.keep_loaded);
  if (flags.back_to) request.set_version(*flags.back_to);
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::ModelService>(flags.client, &VersionStub::RollBackModel, request));
  Print(response.version(), output);
  return 0;
}

absl::StatusOr<int> DeleteVersion(const VersionFlags& flags, const Output& output) {
  v1::DeleteModelVersionRequest request;
  request.set_name(flags.name);
  RETURN_IF_ERROR(
      UnaryCall<v1::ModelService>(flags.client, &VersionStub::DeleteModelVersion, request)
          .status());
  if (output.json()) {
    output.Object({{"deleted", flags.name}});
  } else {
    std::cout << "Deleted " << flags.name << ".\n";
  }
  return 0;
}

}  // namespace

void AddVersionCommands(CommandLine& line, CommandGroup models) {
  auto flags = std::make_shared<VersionFlags>();
  const auto add = [&](const std::string& name, const std::string& description,
                       const std::string& examples, auto action) {
    Command command =
        line.Add(models, name, description, examples,
                 [flags, action](const Output& output) { return action(*flags, output); });
    AddClientFlags(command, flags->client);
    return command;
  };

  Command versions = add("versions", "Lists the versions of a model",
                         "  whipsnake models versions support\n", Versions);
  versions.AddOption("name", flags->name, "The model's name").TypeName("NAME").Required();

  Command alias = add("alias", "Lets an alias lead to a version of a model",
                      "  whipsnake models alias support:stable 3\n", SetAlias);
  alias.AddOption("alias", flags->name, "The name and the alias").TypeName("NAME:ALIAS").Required();
  alias.AddOption("version", flags->version, "The number of the version")
      .TypeName("VERSION")
      .Required();

  Command unalias = add("unalias", "Deletes an alias of a model",
                        "  whipsnake models unalias support:stable\n", DeleteAlias);
  unalias.AddOption("alias", flags->name, "The name and the alias")
      .TypeName("NAME:ALIAS")
      .Required();

  Command rollback = add("rollback", "Lets another version of a model serve; no request fails",
                         "  whipsnake models rollback support\n"
                         "  whipsnake models rollback support --version 1\n",
                         RollBack);
  rollback.AddOption("name", flags->name, "The model's name").TypeName("NAME").Required();
  rollback
      .AddOption("--version", flags->back_to,
                 "The version (default: the one that served before; 0: the model that was loaded "
                 "under the name itself)")
      .TypeName("VERSION");
  rollback.AddFlag("--keep-loaded", flags->keep_loaded,
                   "Keeps the version loaded that served until now");

  Command remove = add("delete-version", "Deletes a version of a model and its files",
                       "  whipsnake models delete-version support:1\n", DeleteVersion);
  remove.AddOption("name", flags->name, "The version").TypeName("NAME:VERSION").Required();
}

}  // namespace whipsnake::server
