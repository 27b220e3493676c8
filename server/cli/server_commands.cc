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
  std::string family;  // the prefix of names of metrics
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

// Numbers as they are; infinity as Prometheus writes it.
Json BoundJson(double bound) {
  if (std::isinf(bound)) return "+Inf";
  return bound;
}

Json HistogramJson(const v1::MetricHistogram& histogram) {
  Json buckets = Json::array();
  for (const v1::MetricBucket& bucket : histogram.bucket()) {
    buckets.push_back(
        {{"le", BoundJson(bucket.upper_bound())}, {"count", bucket.cumulative_count()}});
  }
  return {{"count", histogram.sample_count()},
          {"sum", histogram.sample_sum()},
          {"buckets", std::move(buckets)}};
}

Json FamilyJson(const v1::MetricFamily& family) {
  const bool counts = family.type() == v1::METRIC_TYPE_COUNTER;
  const bool is_histogram = family.type() == v1::METRIC_TYPE_HISTOGRAM;
  Json series = Json::array();
  for (const v1::Metric& metric : family.metric()) {
    Json labels = Json::object();
    for (const v1::MetricLabel& label : metric.label()) labels[label.name()] = label.value();
    Json one = Json::object();
    one["labels"] = std::move(labels);
    if (is_histogram) {
      one["histogram"] = HistogramJson(metric.histogram());
    } else {
      one["value"] = counts ? metric.counter().value() : metric.gauge().value();
    }
    series.push_back(std::move(one));
  }
  return {{"name", family.name()},
          {"type", is_histogram ? "histogram"
                   : counts     ? "counter"
                                : "gauge"},
          {"help", family.help()},
          {"series", std::move(series)}};
}

absl::StatusOr<int> Metrics(const ServerFlags& flags, const Output& output) {
  v1::GetMetricsRequest request;
  request.set_family_prefix(flags.family);
  request.set_format(output.json() ? v1::METRICS_FORMAT_MESSAGES : v1::METRICS_FORMAT_TEXT);
  ASSIGN_OR_RETURN(const auto metrics,
                   UnaryCall<v1::AdminService>(flags.client, &AdminStub::GetMetrics, request));
  if (output.json()) {
    for (const v1::MetricFamily& family : metrics.families()) output.Object(FamilyJson(family));
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
  Command metrics = line.Add(server, "metrics",
                             "Prints the metrics in Prometheus' text format; with --json, an "
                             "object for each name",
                             "  whipsnake server metrics | grep tokens\n"
                             "  whipsnake server metrics --family whipsnake_finetune --json\n",
                             [flags](const Output& output) { return Metrics(*flags, output); });
  AddClientFlags(metrics, flags->client);
  metrics.AddOption("--family", flags->family, "Only metrics whose names begin with this")
      .TypeName("PREFIX");
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
