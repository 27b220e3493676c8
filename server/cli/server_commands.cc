// whipsnake server info|metrics|drain
#include <google/protobuf/util/time_util.h>

#include <chrono>
#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/admin.grpc.pb.h"

namespace whipsnake::server {
namespace {

using google::protobuf::util::TimeUtil;
using AdminStub = v1::AdminService::StubInterface;

struct ServerFlags {
  ClientFlags client;
  std::optional<double> grace_seconds;
};

Json InfoJson(const v1::GetServerInfoResponse& info) {
  return {{"version", info.version()},
          {"commit", info.commit()},
          {"start_time", TimeUtil::ToString(info.start_time())},
          {"isa", info.isa()},
          {"machine_isa", info.machine_isa()},
          {"threads", info.threads()},
          {"memory_limit_bytes", info.memory_limit_bytes()},
          {"memory_used_bytes", info.memory_used_bytes()},
          {"gpu", info.gpu()},
          {"draining", info.draining()}};
}

std::string InfoTable(const v1::GetServerInfoResponse& info) {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const double running = std::max(now - static_cast<double>(info.start_time().seconds()), 0.0);
  return Table({
      {"PROPERTY", "VALUE"},
      {"version", absl::StrCat(info.version(), " (", info.commit(), ")")},
      {"state", info.draining() ? "draining: it refuses new requests" : "serving"},
      {"running for", engine::HumanDuration(running)},
      {"instruction set", absl::StrCat(info.isa(), ", of ", info.machine_isa())},
      {"threads", absl::StrCat(info.threads(), " for computing")},
      {"memory", absl::StrCat(engine::HumanBytes(info.memory_used_bytes()), " of ",
                              engine::HumanBytes(info.memory_limit_bytes()))},
      {"GPU", info.gpu()},
  });
}

absl::StatusOr<int> Info(const ServerFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const auto info,
                   UnaryCall<v1::AdminService>(flags.client, &AdminStub::GetServerInfo,
                                               v1::GetServerInfoRequest()));
  if (output.json()) {
    output.Object(InfoJson(info));
  } else {
    std::cout << InfoTable(info);
  }
  return 0;
}

absl::StatusOr<int> Metrics(const ServerFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(
      const auto metrics,
      UnaryCall<v1::AdminService>(flags.client, &AdminStub::GetMetrics, v1::GetMetricsRequest()));
  if (output.json()) {
    output.Object({{"text", metrics.text()}});
  } else {
    std::cout << metrics.text();
  }
  return 0;
}

absl::StatusOr<int> Drain(const ServerFlags& flags, const Output& output) {
  v1::DrainRequest request;
  if (flags.grace_seconds) {
    *request.mutable_grace_period() =
        TimeUtil::MillisecondsToDuration(std::llround(*flags.grace_seconds * 1000));
  }
  RETURN_IF_ERROR(UnaryCall<v1::AdminService>(flags.client, &AdminStub::Drain, request).status());
  if (output.json()) {
    output.Object({{"draining", true}});
  } else {
    std::cout << "The server refuses new requests now, and ends once the running ones have "
                 "finished.\n";
  }
  return 0;
}

}  // namespace

void AddServerCommands(CommandLine& line) {
  auto flags = std::make_shared<ServerFlags>();
  CommandGroup server = line.AddGroup("server", "Asks a server about itself, or ends it");
  AddClientFlags(line.Add(server, "info", "Shows the version, the state and the memory",
                          "  whipsnake server info\n",
                          [flags](const Output& output) { return Info(*flags, output); }),
                 flags->client);
  AddClientFlags(line.Add(server, "metrics", "Prints the metrics in Prometheus' text format",
                          "  whipsnake server metrics | grep tokens\n",
                          [flags](const Output& output) { return Metrics(*flags, output); }),
                 flags->client);
  Command drain = line.Add(server, "drain",
                           "Ends the server as SIGTERM does: once running requests have finished",
                           "  whipsnake server drain\n"
                           "  whipsnake server drain --grace-period 60\n",
                           [flags](const Output& output) { return Drain(*flags, output); });
  AddClientFlags(drain, flags->client);
  drain
      .AddOption("--grace-period", flags->grace_seconds,
                 "Seconds that running requests have (default: the server's own)")
      .RealRange(0.0, 3600.0)
      .TypeName("SECONDS");
}

}  // namespace whipsnake::server
