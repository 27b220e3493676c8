#include "server/console/console_guard.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

using engine::ToAbsl;

absl::Status Denied(std::string_view reason, std::string_view header, std::string_view seen,
                    std::string_view expected) {
  return WithReason(
      absl::PermissionDeniedError(absl::StrCat(ToAbsl(header), ": ", ToAbsl(engine::Quoted(seen)),
                                               " seen, expected ", ToAbsl(expected))),
      reason);
}

// "[::1]" for "[::1]:8501"; "localhost" for "LocalHost".
std::string HostOf(std::string_view authority) {
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  const bool has_port = colon != authority.npos && (bracket == authority.npos || bracket < colon);
  return absl::AsciiStrToLower(ToAbsl(has_port ? authority.substr(0, colon) : authority));
}

bool IsLoopback(const std::string& host) {
  const auto address = ListenAddress::Parse(host + ":0", "Host");
  return address.ok() && !address->is_unix() && address->IsLoopback();
}

bool IsOriginOf(std::string_view origin, std::string_view authority) {
  for (const std::string_view scheme : {"http://", "https://"}) {  // https: behind a proxy
    if (origin.starts_with(scheme)) {
      return absl::AsciiStrToLower(ToAbsl(origin.substr(scheme.size()))) ==
             absl::AsciiStrToLower(ToAbsl(authority));
    }
  }
  return false;
}

std::string_view MediaType(std::string_view content_type) {
  return content_type.substr(0, content_type.find(';'));
}

}  // namespace

ConsoleGuard::ConsoleGuard(const ListenAddress& address, const std::vector<std::string>& hosts) {
  if (!address.is_unix()) hosts_.insert(HostOf(address.ToString()));
  for (const std::string& host : hosts) hosts_.insert(absl::AsciiStrToLower(host));
}

absl::Status ConsoleGuard::CheckHost(const HttpRequest& request) const {
  const std::string_view authority = request.Header("host");
  const std::string host = HostOf(authority);
  if (hosts_.contains(host) || IsLoopback(host)) return absl::OkStatus();
  return Denied("HOST_REFUSED", "Host", authority,
                "the address that the server listens on, localhost, a loopback address, or a name "
                "given with --console-host");
}

absl::Status ConsoleGuard::CheckRead(const HttpRequest& request) const {
  RETURN_IF_ERROR(CheckHost(request));
  const std::string_view site = request.Header("sec-fetch-site");
  if (site.empty() || site == "same-origin" || site == "none") return absl::OkStatus();
  return Denied("ORIGIN_REFUSED", "Sec-Fetch-Site", site, "same-origin or none");
}

absl::Status ConsoleGuard::CheckAction(const HttpRequest& request) const {
  RETURN_IF_ERROR(CheckHost(request));
  const std::string_view type = request.Header("content-type");
  if (MediaType(type) != "application/json") {
    return Denied("CONTENT_TYPE_REFUSED", "Content-Type", type, "application/json");
  }
  if (request.Header(kHeader).empty()) {
    return Denied("HEADER_MISSING", "X-Whipsnake-Console", "", "1");
  }
  const std::string_view origin = request.Header("origin");
  if (!origin.empty() && !IsOriginOf(origin, request.Header("host"))) {
    return Denied("ORIGIN_REFUSED", "Origin", origin, "the origin of the console");
  }
  const std::string_view site = request.Header("sec-fetch-site");
  if (!site.empty() && site != "same-origin") {
    return Denied("ORIGIN_REFUSED", "Sec-Fetch-Site", site, "same-origin");
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::server
