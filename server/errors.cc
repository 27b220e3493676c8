#include "server/errors.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/logging.h"
#include "server/utf8.h"

namespace whipsnake::server {
namespace {

using engine::ToAbsl;

constexpr std::string_view kTypePrefix = "type.googleapis.com/";
constexpr std::string_view kFieldPrefixPayload = "whipsnake.field_prefix";
constexpr std::string_view kStorageFailed = "STORAGE_FAILED";
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

// All that a client will find in the details, attached.
absl::Status Complete(absl::Status status) {
  if (!HasDetail<google::rpc::ErrorInfo>(status)) {
    status = WithReason(std::move(status), std::string(absl::StatusCodeToString(status.code())));
  }
  const bool temporary = absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
  if (temporary && !HasDetail<google::rpc::RetryInfo>(status)) {
    status = WithRetry(std::move(status), kDefaultRetry);
  }
  const std::string field = FieldPath(status);
  if (absl::IsInvalidArgument(status) && !field.empty()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(BoundedUtf8(field, kMaxMessageBytes / 4));
    violation->set_description(BoundedUtf8(engine::ClientMessage(status), kMaxMessageBytes));
    status = WithDetail(std::move(status), bad_request);
  }
  return status;
}

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kErrorDomain));
  return WithDetail(std::move(status), info);
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
  info.set_resource_name(BoundedUtf8(name, kMaxMessageBytes / 4));
  return WithDetail(std::move(status), info);
}

absl::Status WithPrecondition(absl::Status status, std::string_view type,
                              std::string_view subject) {
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type(std::string(type));
  violation->set_subject(BoundedUtf8(subject, kMaxMessageBytes / 4));
  violation->set_description(BoundedUtf8(engine::ClientMessage(status), kMaxMessageBytes));
  return WithDetail(std::move(status), failure);
}

absl::Status DrainingError() {
  // By then an orchestrator has put another server in this one's place.
  constexpr std::chrono::seconds kRetry{5};
  return WithRetry(
      WithReason(absl::UnavailableError("the server is shutting down"), "SERVER_DRAINING"), kRetry);
}

absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix) {
  if (engine::FieldOf(status).empty()) return status;
  absl::Status result(status.code(), absl::StrCat(ToAbsl(prefix), status.message()));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { result.SetPayload(type, payload); });
  absl::Cord whole(ToAbsl(prefix));
  if (const auto inner = status.GetPayload(ToAbsl(kFieldPrefixPayload))) whole.Append(*inner);
  result.SetPayload(ToAbsl(kFieldPrefixPayload), whole);
  return result;
}

absl::Status BlameCheckpoint(const absl::Status& status) {
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
  Log(LogLevel::kError, text, {{"error", std::string(status.message())}});
  const bool full = absl::IsResourceExhausted(status);
  return WithReason(
      engine::WithClientMessage(
          engine::WithCode(status, full ? status.code() : absl::StatusCode::kInternal), text),
      full ? "STORAGE_FULL" : kStorageFailed);
}

std::string FieldPath(const absl::Status& status) {
  const auto prefix = status.GetPayload(ToAbsl(kFieldPrefixPayload));
  return (prefix ? std::string(*prefix) : std::string()) + engine::FieldOf(status);
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const absl::Status complete = Complete(status);

  google::rpc::Status rich;
  rich.set_code(static_cast<int>(complete.code()));
  rich.set_message(BoundedUtf8(engine::ClientMessage(complete), kMaxMessageBytes));
  complete.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    if (!absl::StartsWith(type, ToAbsl(kTypePrefix))) return;
    auto* detail = rich.add_details();
    detail->set_type_url(std::string(type));
    detail->set_value(std::string(payload));
  });
  // absl's codes are the canonical ones, as gRPC's are.
  return grpc::Status(static_cast<grpc::StatusCode>(rich.code()), rich.message(),
                      rich.SerializeAsString());
}

}  // namespace whipsnake::server
