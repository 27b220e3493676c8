#include "server/listen_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

bool ParsePort(std::string_view text, int* port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *port);
  return error == std::errc() && end == text.data() + text.size() && *port >= 0 && *port <= 65535;
}

// The path after "unix:".
absl::StatusOr<sockaddr_un> ParseUnix(std::string_view path, std::string_view flag) {
  if (path.starts_with("///")) path.remove_prefix(2);
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof(address.sun_path) || path.find('\0') != path.npos) {
    return engine::InvalidField(flag, engine::Quoted(path),
                                absl::StrCat("the path of a Unix socket, of 1 to ",
                                             sizeof(address.sun_path) - 1, " bytes"));
  }
  address.sun_family = AF_UNIX;
  std::ranges::copy(path, address.sun_path);
  return address;
}

}  // namespace

absl::StatusOr<ListenAddress> ListenAddress::Parse(std::string_view text, std::string_view flag) {
  constexpr std::string_view kUnix = "unix:";
  if (text.starts_with(kUnix)) {
    ListenAddress address;
    ASSIGN_OR_RETURN(*reinterpret_cast<sockaddr_un*>(&address.storage_),
                     ParseUnix(text.substr(kUnix.size()), flag));
    return address;
  }
  const absl::Status malformed = engine::InvalidField(
      flag, engine::Quoted(text),
      "ADDRESS:PORT with a numeric address, such as 127.0.0.1:8500 or [::1]:8500, or unix:PATH");
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == std::string_view::npos || !ParsePort(text.substr(colon + 1), &port))
    return malformed;
  std::string host(text.substr(0, colon));
  if (host == "localhost") host = "127.0.0.1";
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);

  ListenAddress result;
  if (bracketed) {
    auto* address = reinterpret_cast<sockaddr_in6*>(&result.storage_);
    if (inet_pton(AF_INET6, host.c_str(), &address->sin6_addr) != 1) return malformed;
    address->sin6_family = AF_INET6;
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&result.storage_);
    if (inet_pton(AF_INET, host.c_str(), &address->sin_addr) != 1) return malformed;
    address->sin_family = AF_INET;
  }
  result.set_port(port);
  return result;
}

bool ListenAddress::IsLoopback() const {
  if (is_unix()) return true;
  if (is_ipv6()) {
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr);
  }
  const auto* address = reinterpret_cast<const sockaddr_in*>(&storage_);
  return ntohl(address->sin_addr.s_addr) >> 24 == 127;
}

std::string ListenAddress::ToString() const {
  if (is_unix()) return "unix:" + path();
  char host[INET6_ADDRSTRLEN] = "";
  if (is_ipv6()) {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(&storage_);
    inet_ntop(AF_INET6, &address->sin6_addr, host, sizeof(host));
    return absl::StrCat("[", host, "]:", port());
  }
  const auto* address = reinterpret_cast<const sockaddr_in*>(&storage_);
  inet_ntop(AF_INET, &address->sin_addr, host, sizeof(host));
  return absl::StrCat(host, ":", port());
}

socklen_t ListenAddress::size() const {
  if (is_unix()) return sizeof(sockaddr_un);
  return is_ipv6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

std::string ListenAddress::path() const {
  return is_unix() ? reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path : "";
}

int ListenAddress::port() const {
  if (is_unix()) return 0;
  return ntohs(is_ipv6() ? reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port
                         : reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
}

void ListenAddress::set_port(int port) {
  if (is_unix()) return;
  const auto value = htons(static_cast<uint16_t>(port));
  if (is_ipv6()) {
    reinterpret_cast<sockaddr_in6*>(&storage_)->sin6_port = value;
  } else {
    reinterpret_cast<sockaddr_in*>(&storage_)->sin_port = value;
  }
}

}  // namespace whipsnake::server
