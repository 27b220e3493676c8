// A minimal HTTP client for tests of the HTTP server: one request per connection.
#ifndef WHIPSNAKE_TESTS_SERVER_HTTP_CLIENT_H_
#define WHIPSNAKE_TESTS_SERVER_HTTP_CLIENT_H_

#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "server/listen_address.h"

namespace whipsnake::server {

// Sends `request` unchanged and returns everything received until the server closes.
inline std::string Exchange(const std::string& address, const std::string& request) {
  const auto parsed = ListenAddress::Parse(address, "address");
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  std::string answer;
  if (parsed.ok() && connect(descriptor, parsed->address(), sizeof(sockaddr_storage)) == 0 &&
      send(descriptor, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
    char buffer[4096];
    for (ssize_t n; (n = recv(descriptor, buffer, sizeof(buffer), 0)) > 0;)
      answer.append(buffer, n);
  }
  close(descriptor);
  return answer;
}

inline std::string Http(const std::string& address, const std::string& method,
                        const std::string& path) {
  return Exchange(address,
                  method + " " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_HTTP_CLIENT_H_
