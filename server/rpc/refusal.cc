#include "server/rpc/refusal.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/generate/generation_parameters.h"
#include "server/errors.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

constexpr int kMaxLoggedBytes = 512;

bool IsUsable(std::string_view id) {
  return !id.empty() && id.size() <= 4 * engine::kMaxRequestIdCharacters && engine::IsUtf8(id) &&
         engine::CountCharacters(id) <= engine::kMaxRequestIdCharacters;
}

// Whether HTTP/2 allows the text as a metadata value.
bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::string GenerateRequestId() {
  char text[17];
  std::snprintf(text, sizeof(text), "%016" PRIx64, engine::RandomNumber());
  return text;
}

}  // namespace

std::string RequestIdOf(const grpc::CallbackServerContext& context, std::string_view given) {
  if (IsUsable(given)) return std::string(given);
  const auto found = context.client_metadata().find(kRequestIdMetadata);
  if (found != context.client_metadata().end()) {
    const std::string_view text(found->second.data(), found->second.size());
    if (IsUsable(text)) return std::string(text);
  }
  return GenerateRequestId();
}

grpc::Status EndCall(grpc::CallbackServerContext* context, std::string_view request_id,
                     const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (IsPrintableAscii(request_id)) {
    context->AddTrailingMetadata(kRequestIdMetadata, std::string(request_id));
  }
  return ToGrpc(WithRequestId(status, request_id));
}

void LogRefusal(std::string_view method, std::string_view model, std::string_view request_id,
                const absl::Status& status) {
  LogLimited(LogLevel::kInfo, "request refused",
             {{"request_id", std::string(request_id)},
              {"method", std::string(method)},
              {"model", engine::BoundedUtf8(model, kMaxLoggedBytes)},
              {"code", absl::StatusCodeToString(status.code())},
              {"field", engine::BoundedUtf8(engine::FieldOf(status), kMaxLoggedBytes)}});
}

grpc::Status EndCallAndLog(grpc::CallbackServerContext* context, std::string_view method,
                           const absl::Status& status) {
  const std::string request_id = RequestIdOf(*context);
  if (!status.ok()) LogRefusal(method, "", request_id, status);
  return EndCall(context, request_id, status);
}

}  // namespace whipsnake::server
