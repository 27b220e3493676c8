// A small HTTP server for metrics and probes: GET and HEAD of fixed paths.
#ifndef WHIPSNAKE_SERVER_HTTP_HTTP_SERVER_H_
#define WHIPSNAKE_SERVER_HTTP_HTTP_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/acceptor.h"

struct MHD_Daemon;

namespace whipsnake::server {

struct HttpResponse {
  int code = 200;
  std::string body;
  std::string content_type = "text/plain; charset=utf-8";
};

// By path. Handlers run on the server's one thread, one at a time, and should be quick. One that
// throws is answered with 500.
using HttpRoutes = std::map<std::string, std::function<HttpResponse()>, std::less<>>;

// Serves until it is destroyed. Another path is answered with 404, another method with 405.
//
// A connection is good for a probe: where there are as many as there may be, a new one takes the
// place of the oldest, so that clients which send nothing, or half a request, keep nobody out.
class HttpServer {
 public:
  // Port 0 takes a free one. UNAVAILABLE, naming the address, when it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const ListenAddress& address,
                                                           HttpRoutes routes,
                                                           int64_t max_connections);
  ~HttpServer();

  const Acceptor& acceptor() const { return *acceptor_; }
  const HttpRoutes& routes() const { return routes_; }

 private:
  HttpServer(std::unique_ptr<Acceptor> acceptor, HttpRoutes routes)
      : acceptor_(std::move(acceptor)), routes_(std::move(routes)) {}

  std::unique_ptr<Acceptor> acceptor_;
  const HttpRoutes routes_;
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_HTTP_HTTP_SERVER_H_
