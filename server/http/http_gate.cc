#include "server/http/http_gate.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

constexpr int kUnauthorized = 401, kForbidden = 403;

std::string Challenge(const absl::Status& status, Scope needed) {
  constexpr char kScheme[] = "Bearer realm=\"whipsnake\"";
  if (ReasonOf(status) == "TOKEN_MISSING") return kScheme;
  if (absl::IsUnauthenticated(status)) return absl::StrCat(kScheme, ", error=\"invalid_token\"");
  return absl::StrCat(kScheme, ", error=\"insufficient_scope\", scope=\"",
                      engine::ToAbsl(Name(needed)), "\"");
}

}  // namespace

std::optional<HttpResponse> RefuseCaller(const AccessControl& access, const HttpRoute& route,
                                         const HttpRequest& request) {
  const absl::Status status =
      access.Decide({.authorization = request.Header("authorization")}, route.scope, request.path)
          .status;
  if (status.ok()) return std::nullopt;
  HttpResponse response = {.code = absl::IsUnauthenticated(status) ? kUnauthorized : kForbidden,
                           .body = engine::ClientMessage(status) + "\n"};
  response.headers = {{"WWW-Authenticate", Challenge(status, route.scope)},
                      {"Cache-Control", "no-store"}};
  return response;
}

}  // namespace whipsnake::server
