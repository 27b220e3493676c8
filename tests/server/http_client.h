// A minimal HTTP client for tests of the HTTP server: one request per connection.
#ifndef WHIPSNAKE_TESTS_SERVER_HTTP_CLIENT_H_
#define WHIPSNAKE_TESTS_SERVER_HTTP_CLIENT_H_

#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "server/listen_address.h"

namespace whipsnake::server {

// A connection on which a test can stop between sending, reading and closing.
class HttpConnection {
 public:
  explicit HttpConnection(const std::string& address) {
    const auto parsed = ListenAddress::Parse(address, "address");
    descriptor_ = socket(AF_INET, SOCK_STREAM, 0);
    if (!parsed.ok() || connect(descriptor_, parsed->address(), sizeof(sockaddr_storage)) != 0) {
      Close();
    }
  }
  ~HttpConnection() { Close(); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  bool Send(const std::string& request) {
    return send(descriptor_, request.data(), request.size(), MSG_NOSIGNAL) > 0;
  }
  // Reads until the answer contains `text` or the server closes. Returns all that was received.
  const std::string& ReadUntil(const std::string& text) {
    while (received_.find(text) == std::string::npos && Read()) {
    }
    return received_;
  }
  // Reads until the server closes.
  const std::string& ReadAll() {
    while (Read()) {
    }
    return received_;
  }
  void Close() {
    if (descriptor_ >= 0) close(descriptor_);
    descriptor_ = -1;
  }

 private:
  bool Read() {
    char buffer[4096];
    const ssize_t count = recv(descriptor_, buffer, sizeof(buffer), 0);
    if (count > 0) received_.append(buffer, count);
    return count > 0;
  }

  int descriptor_ = -1;
  std::string received_;
};

// Sends `request` unchanged and returns everything received until the server closes.
inline std::string Exchange(const std::string& address, const std::string& request) {
  HttpConnection connection(address);
  return connection.Send(request) ? connection.ReadAll() : "";
}

inline std::string HttpHead(const std::string& method, const std::string& path,
                            const std::string& headers = "Host: test\r\n") {
  return method + " " + path + " HTTP/1.1\r\n" + headers + "Connection: close\r\n\r\n";
}

inline std::string Http(const std::string& address, const std::string& method,
                        const std::string& path) {
  return Exchange(address, HttpHead(method, path));
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_HTTP_CLIENT_H_
