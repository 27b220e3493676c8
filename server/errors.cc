#include "server/errors.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/disk_full.h"
#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/disk_errors.h"

namespace whipsnake::server {
namespace {

using engine::ToAbsl;

constexpr std::string_view kTypePrefix = "type.googleapis.com/";
constexpr std::string_view kStorageFailed = "STORAGE_FAILED";
// The most violations that one error lists.
constexpr size_t kMaxViolations = 12;
constexpr std::chrono::milliseconds kDefaultRetry{1000};

template <typename Detail>
std::string TypeUrl() {
  return std::string(kTypePrefix) + Detail::descriptor()->full_name();
}

template <typename Detail>
absl::Status WithDetail(absl::Status status, const Detail& detail) {
  status.SetPayload(TypeUrl<Detail>(), absl::Cord(detail.SerializeAsString()));
  return status;
}

template <typename Detail>
bool HasDetail(const absl::Status& status) {
  return status.GetPayload(TypeUrl<Detail>()).has_value();
}

google::rpc::BadRequest ToBadRequest(const absl::Status& status,
                                     std::vector<engine::FieldViolation> violations) {
  violations.resize(std::min(violations.size(), kMaxViolations));
  // A single violation uses the status's message, which may have more context.
  if (violations.size() == 1) violations.front().message = engine::ClientMessage(status);
  const int64_t share = kMaxMessageBytes / std::ssize(violations);
  google::rpc::BadRequest bad_request;
  for (const engine::FieldViolation& violation : violations) {
    auto* proto = bad_request.add_field_violations();
    proto->set_field(engine::BoundedUtf8(violation.field, share / 4));
    proto->set_description(engine::BoundedUtf8(violation.message, share));
  }
  return bad_request;
}

// Adds the details that every error has.
absl::Status Complete(absl::Status status) {
  if (!HasDetail<google::rpc::ErrorInfo>(status)) {
    const std::string code = absl::StatusCodeToString(status.code());
    status = WithReason(std::move(status), code);
  }
  const bool temporary = absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
  if (temporary && !HasDetail<google::rpc::RetryInfo>(status)) {
    status = WithRetry(std::move(status), kDefaultRetry);
  }
  std::vector<engine::FieldViolation> violations = engine::ViolationsOf(status);
  if (absl::IsInvalidArgument(status) && !violations.empty()) {
    const google::rpc::BadRequest detail = ToBadRequest(status, std::move(violations));
    status = WithDetail(std::move(status), detail);
  }
  return status;
}

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason, ErrorMetadata metadata) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kErrorDomain));
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[std::string(key)] = value;
  return WithDetail(std::move(status), info);
}

std::string ReasonOf(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  const auto payload = status.GetPayload(TypeUrl<google::rpc::ErrorInfo>());
  if (payload && info.ParseFromString(std::string(*payload))) return info.reason();
  return absl::StatusCodeToString(status.code());
}

absl::Status WithRetry(absl::Status status, std::chrono::milliseconds delay) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  info.mutable_retry_delay()->set_nanos(static_cast<int>(delay.count() % 1000) * 1'000'000);
  return WithDetail(std::move(status), info);
}

absl::Status WithResource(absl::Status status, std::string_view type, std::string_view name) {
  google::rpc::ResourceInfo info;
  info.set_resource_type(std::string(type));
  info.set_resource_name(engine::BoundedUtf8(name, kMaxMessageBytes / 4));
  return WithDetail(std::move(status), info);
}

absl::Status WithPrecondition(absl::Status status, std::string_view type,
                              std::string_view subject) {
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type(std::string(type));
  violation->set_subject(engine::BoundedUtf8(subject, kMaxMessageBytes / 4));
  violation->set_description(engine::BoundedUtf8(engine::ClientMessage(status), kMaxMessageBytes));
  return WithDetail(std::move(status), failure);
}

absl::Status DrainingError() {
  // By then an orchestrator has started a replacement.
  constexpr std::chrono::seconds kRetry{5};
  return WithRetry(
      WithReason(absl::UnavailableError("the server is shutting down"), "SERVER_DRAINING"), kRetry);
}

absl::Status NoDataDirectory() {
  return WithPrecondition(
      WithReason(absl::FailedPreconditionError(
                     "the server keeps no data sets, jobs, versions of models or states; its "
                     "operator starts it with --data DIR"),
                 "NO_DATA_DIRECTORY"),
      "DATA_DIRECTORY", "--data");
}

absl::Status AsCheckpointError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
      return WithReason(engine::WithCode(status, absl::StatusCode::kDataLoss), "BAD_CHECKPOINT");
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kUnavailable:
      return StorageError(status, "the model's files cannot be read");
    default:
      return status;
  }
}

absl::Status StorageError(const absl::Status& status, std::string_view text) {
  if (status.ok()) return status;
  LogDiskError(text, status);
  const bool lacks = absl::IsResourceExhausted(status);  // room, or memory or descriptors
  return WithReason(
      engine::WithClientMessage(
          engine::WithCode(status, lacks ? status.code() : absl::StatusCode::kInternal), text),
      engine::IsDiskFull(status) ? "STORAGE_FULL" : kStorageFailed);
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const absl::Status complete = Complete(status);

  google::rpc::Status rich;
  rich.set_code(static_cast<int>(complete.code()));
  rich.set_message(engine::BoundedUtf8(engine::ClientMessage(complete), kMaxMessageBytes));
  complete.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    if (!absl::StartsWith(type, ToAbsl(kTypePrefix))) return;
    auto* detail = rich.add_details();
    detail->set_type_url(std::string(type));
    detail->set_value(std::string(payload));
  });
  // absl and gRPC use the same canonical codes.
  return grpc::Status(static_cast<grpc::StatusCode>(rich.code()), rich.message(),
                      rich.SerializeAsString());
}

}  // namespace whipsnake::server
