#include "server/rpc/admin_service.h"

#include <google/protobuf/util/time_util.h>

#include <string>

#include "engine/base/status.h"
#include "kernels/cpu/isa.h"
#include "server/rpc/messages.h"
#include "server/rpc/metrics_messages.h"
#include "server/version.h"

namespace whipsnake::server {
namespace {

using google::protobuf::util::TimeUtil;

constexpr int64_t kMaxGraceSeconds = 3600;

}  // namespace

grpc::ServerUnaryReactor* AdminService::GetServerInfo(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const auto get = [this](const v1::GetServerInfoRequest&, v1::GetServerInfoResponse* info) {
    info->set_version(std::string(Version()));
    info->set_commit(std::string(Commit()));
    *info->mutable_start_time() =
        TimeUtil::TimeTToTimestamp(std::chrono::system_clock::to_time_t(environment_.start_time));
    info->set_isa(std::string(kernels::Name(kernels::ActiveIsa())));
    info->set_machine_isa(std::string(kernels::Name(kernels::MachineIsa())));
    info->set_threads(environment_.threads);
    info->set_memory_limit_bytes(environment_.ledger->limit());
    info->set_memory_used_bytes(environment_.ledger->used());
    info->set_gpu("none: models run on the CPU in this version");
    info->set_draining(environment_.active_calls->closed());
    return absl::OkStatus();
  };
  return AnswerUnary<v1::GetServerInfoRequest, v1::GetServerInfoResponse>(context, request,
                                                                          response, get);
}

grpc::ServerUnaryReactor* AdminService::GetMetrics(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  const auto get = [this](const v1::GetMetricsRequest& query,
                          v1::GetMetricsResponse* metrics) -> absl::Status {
    const MetricsRegistry& registry = environment_.metrics->registry;
    switch (query.format()) {
      case v1::METRICS_FORMAT_UNSPECIFIED:
      case v1::METRICS_FORMAT_TEXT:
        metrics->set_text(MetricsText(registry.CollectFrom(query.family_prefix())));
        return absl::OkStatus();
      case v1::METRICS_FORMAT_MESSAGES:
        for (const auto& family : registry.CollectFrom(query.family_prefix())) {
          *metrics->add_families() = ToProto(family);
        }
        return absl::OkStatus();
      default:
        return engine::InvalidField("format", std::to_string(query.format()),
                                    "METRICS_FORMAT_TEXT or METRICS_FORMAT_MESSAGES");
    }
  };
  return AnswerUnary<v1::GetMetricsRequest, v1::GetMetricsResponse>(context, request, response,
                                                                    get);
}

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) {
  const auto drain = [this](const v1::DrainRequest& query, v1::DrainResponse*) -> absl::Status {
    std::optional<std::chrono::milliseconds> grace;
    if (query.has_grace_period()) {
      const auto& period = query.grace_period();
      if (period.seconds() < 0 || period.nanos() < 0 || period.nanos() > 999'999'999 ||
          period.seconds() > kMaxGraceSeconds) {
        return engine::InvalidField(
            "grace_period",
            std::to_string(period.seconds()) + " s " + std::to_string(period.nanos()) + " ns",
            "a duration from 0 to " + std::to_string(kMaxGraceSeconds) + " s");
      }
      grace = std::chrono::milliseconds(TimeUtil::DurationToMilliseconds(period));
    }
    environment_.request_drain(grace);
    return absl::OkStatus();
  };
  return AnswerUnary<v1::DrainRequest, v1::DrainResponse>(context, request, response, drain);
}

}  // namespace whipsnake::server
