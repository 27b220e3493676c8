#include "server/cli/server_address.h"

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

constexpr std::string_view kDefaultPort = "8500";

absl::Status Invalid(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat(engine::Quoted(text),
                   " seen, expected HOST, HOST:PORT with a port from 1 to 65535, or unix:PATH"));
}

// Whether the text is a target with a scheme of gRPC's, which it resolves itself.
bool HasScheme(std::string_view text) {
  constexpr std::array<std::string_view, 6> kSchemes = {
      "unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:"};
  return std::ranges::any_of(kSchemes,
                             [&](std::string_view scheme) { return text.starts_with(scheme); });
}

bool IsLoopback(std::string_view host) {
  return absl::EqualsIgnoreCase(engine::ToAbsl(host), "localhost") || host.starts_with("127.") ||
         host == "::1";
}

bool IsPort(std::string_view text) {
  int port = 0;
  return absl::SimpleAtoi(engine::ToAbsl(text), &port) && port >= 1 && port <= 65535;
}

}  // namespace

absl::StatusOr<ServerAddress> ParseServerAddress(std::string_view text) {
  if (HasScheme(text)) {
    return ServerAddress{.target = std::string(text), .loopback = text.starts_with("unix")};
  }
  std::string_view host = text, port = kDefaultPort;
  if (text.starts_with('[')) {  // [::1], [::1]:8500
    const size_t end = text.find(']');
    if (end == text.npos) return Invalid(text);
    host = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty()) {
      if (!rest.starts_with(':')) return Invalid(text);
      port = rest.substr(1);
    }
  } else if (std::ranges::count(text, ':') == 1) {  // more: an IPv6 address
    host = text.substr(0, text.find(':'));
    port = text.substr(text.find(':') + 1);
  }
  if (host.empty() || !IsPort(port) || host.find_first_of(" /\t\n") != host.npos) {
    return Invalid(text);
  }
  const bool is_ipv6 = host.find(':') != host.npos;
  return ServerAddress{.target = absl::StrCat(is_ipv6 ? "[" : "", engine::ToAbsl(host),
                                              is_ipv6 ? "]:" : ":", engine::ToAbsl(port)),
                       .loopback = IsLoopback(host)};
}

}  // namespace whipsnake::server
