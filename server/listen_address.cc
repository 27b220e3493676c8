#include "server/listen_address.h"

#include <arpa/inet.h>

#include <charconv>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

bool ParsePort(std::string_view text, int* port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *port);
  return error == std::errc() && end == text.data() + text.size() && *port >= 0 && *port <= 65535;
}

}  // namespace

absl::StatusOr<ListenAddress> ListenAddress::Parse(std::string_view text, std::string_view flag) {
  const absl::Status malformed = engine::InvalidField(
      flag, engine::Quoted(text),
      "ADDRESS:PORT with a numeric address, such as 127.0.0.1:8500 or [::1]:8500");
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
  if (is_ipv6()) {
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr);
  }
  const auto* address = reinterpret_cast<const sockaddr_in*>(&storage_);
  return ntohl(address->sin_addr.s_addr) >> 24 == 127;
}

std::string ListenAddress::ToString() const {
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

int ListenAddress::port() const {
  return ntohs(is_ipv6() ? reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port
                         : reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
}

void ListenAddress::set_port(int port) {
  const auto value = htons(static_cast<uint16_t>(port));
  if (is_ipv6()) {
    reinterpret_cast<sockaddr_in6*>(&storage_)->sin6_port = value;
  } else {
    reinterpret_cast<sockaddr_in*>(&storage_)->sin_port = value;
  }
}

}  // namespace whipsnake::server
