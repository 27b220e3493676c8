#include "server/metrics/server_families.h"

#include "server/metrics/labels.h"

namespace whipsnake::server {
namespace {

LabelDescription MethodLabel() {
  return {.name = "method",
          .meaning =
              "a method of the API, such as `whipsnake.v1.GenerationService/Generate`; "
              "`unknown` for all others"};
}

LabelDescription PortLabel() { return {.name = "port", .values = {"grpc", "http"}}; }

// Begins the group while the first family is made.
MetricsRegistry& BeginServerGroup(MetricsRegistry& registry) {
  registry.BeginGroup("The server");
  return registry;
}

}  // namespace

ServerFamilies::ServerFamilies(MetricsRegistry& registry)
    : build_info(BeginServerGroup(registry).AddGauge(
          {.name = "whipsnake_build_info",
           .help = "Version and build of the running server; always 1.",
           .unit = "1",
           .labels = {{.name = "version", .meaning = "such as `0.1.0`"},
                      {.name = "commit", .meaning = "of the source, or `unknown`"},
                      {.name = "isa", .meaning = "the instruction set in use, such as `avx2`"},
                      {.name = "cuda", .values = {"yes", "no"}}}})),
      draining(registry.AddGauge({.name = "whipsnake_draining",
                                  .help = "1 once the server accepts no new requests.",
                                  .unit = "0 or 1"})),
      rpc_requests(registry.AddCounter(
          {.name = "whipsnake_rpc_requests_total",
           .help = "RPCs that ended, by method and gRPC status code; counted when the status is "
                   "sent.",
           .unit = "RPCs",
           .labels = {MethodLabel(),
                      {.name = "code", .meaning = "gRPC's name of the code, such as `OK`"}},
           .example = "sum(rate(whipsnake_rpc_requests_total{code=~\"INTERNAL|DATA_LOSS|UNKNOWN\"}"
                      "[5m])) / sum(rate(whipsnake_rpc_requests_total[5m]))"})),
      rpc_duration(registry.AddHistogram(
          {.name = "whipsnake_rpc_duration_seconds",
           .help = "From the arrival of an RPC to the sending of its status, in seconds.",
           .unit = "seconds",
           .labels = {MethodLabel()}},
          DurationBounds())),
      rpcs_in_progress(registry.AddGauge(
          {.name = "whipsnake_rpcs_in_progress",
           .help = "RPCs that have arrived and are not over: also those that wait, stream, or "
                   "have ended and wait for their clients to read the end.",
           .unit = "RPCs",
           .labels = {MethodLabel()}})),
      connections(registry.AddComputedGauge({.name = "whipsnake_connections",
                                             .help = "Connections that are open, by port.",
                                             .unit = "connections",
                                             .labels = {PortLabel()}})),
      connections_limit(registry.AddComputedGauge(
          {.name = "whipsnake_connections_limit",
           .help = "The most connections that a port takes at the same time.",
           .unit = "connections",
           .labels = {PortLabel()},
           .example = "whipsnake_connections / whipsnake_connections_limit > 0.8"})),
      connections_turned_away(registry.AddComputedCounter(
          {.name = "whipsnake_connections_turned_away_total",
           .help =
               "Connections that were refused (grpc), or closed in favor of a newer one (http), "
               "because the limit was reached.",
           .unit = "connections",
           .labels = {PortLabel()}})),
      device_memory_used(registry.AddComputedGauge(
          {.name = "whipsnake_device_memory_used_bytes",
           .help = "Memory that the engine has reserved: weights, states, activations, workspace.",
           .unit = "bytes",
           .labels = {DeviceLabel()},
           .example =
               "whipsnake_device_memory_used_bytes / whipsnake_device_memory_limit_bytes > 0.9"})),
      device_memory_purpose(registry.AddComputedGauge(
          {.name = "whipsnake_device_memory_purpose_bytes",
           .help = "Memory that the engine has reserved, by purpose.",
           .unit = "bytes",
           .labels = {DeviceLabel(), {.name = "purpose", .meaning = "such as `weights`"}}})),
      device_memory_limit(
          registry.AddComputedGauge({.name = "whipsnake_device_memory_limit_bytes",
                                     .help = "Memory that the engine may reserve; 0: no limit.",
                                     .unit = "bytes",
                                     .labels = {DeviceLabel()}})),
      compute_time(registry.AddComputedCounter(
          {.name = "whipsnake_compute_seconds_total",
           .help = "Time that the compute thread worked for serving and for training (which "
                   "includes quantization), in seconds.",
           .unit = "seconds",
           .labels = {{.name = "work", .values = {"serving", "training"}}},
           .example = "rate(whipsnake_compute_seconds_total[5m])"})),
      log_lines(registry.AddComputedCounter(
          {.name = "whipsnake_log_lines_total",
           .help = "Lines that were written to the log.",
           .unit = "lines",
           .labels = {{.name = "level", .values = {"debug", "info", "warning", "error"}}},
           .example = "increase(whipsnake_log_lines_total{level=\"error\"}[10m]) > 0"})),
      log_lines_dropped(registry.AddComputedCounter(
          {.name = "whipsnake_log_lines_dropped_total",
           .help = "Lines that were left out of the log, because there were too many of the same "
                   "kind.",
           .unit = "lines"})) {
  draining.With({}).Set(0);
}

}  // namespace whipsnake::server
