// whipsnake health
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/cli/client.h"
#include "server/cli/command.h"

namespace whipsnake::server {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

struct HealthFlags {
  ClientFlags client;
  std::string model;

  HealthFlags() { client.timeout_seconds = 5; }
};

absl::StatusOr<std::string> Check(grpc::health::v1::Health::Stub& stub, const HealthFlags& flags,
                                  const std::string& service) {
  grpc::ClientContext context;
  SetDeadline(flags.client, context);
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status = stub.Check(&context, request, &response);
  if (status.ok()) return HealthCheckResponse::ServingStatus_Name(response.status());
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return absl::NotFoundError(absl::StrCat("the server has no model '", flags.model,
                                            "'; 'whipsnake models list --server ",
                                            flags.client.server, "' shows those that it has"));
  }
  return ClientError(status, flags.client);
}

absl::StatusOr<int> Health(const HealthFlags& flags, const Output& output) {
  const auto stub = grpc::health::v1::Health::NewStub(Connect(flags.client));
  absl::StatusOr<std::string> status = Check(*stub, flags, "");
  if (!status.ok()) return status.status();
  Json result = {{"status", *status}};
  bool serving = *status == "SERVING";
  std::string text = absl::StrCat("server ", flags.client.server, ": ", *status, "\n");

  if (!flags.model.empty()) {
    status = Check(*stub, flags, "model/" + flags.model);
    if (!status.ok()) return status.status();
    result["model"] = {{"name", flags.model}, {"status", *status}};
    serving = serving && *status == "SERVING";
    absl::StrAppend(&text, "model ", flags.model, ": ", *status, "\n");
  }

  if (output.json()) {
    output.Object(result);
  } else {
    std::cout << text;
  }
  return serving ? 0 : 1;
}

}  // namespace

void AddHealthCommand(CommandLine& line) {
  auto flags = std::make_shared<HealthFlags>();
  Command command =
      line.Add("health", "Asks whether the server is serving; exits with 0 only if it is",
               "  whipsnake health\n"
               "  whipsnake health --model demo && echo ready\n",
               [flags](const Output& output) { return Health(*flags, output); });
  AddClientFlags(command, flags->client);
  AddModelFlag(command, flags->model, "Also asks about this model");
  AddTimeoutFlag(command, flags->client, "Seconds to wait for an answer").ShowDefault();
}

}  // namespace whipsnake::server
