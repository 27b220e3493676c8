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

// Handlers by path. They run on the server's only thread, one at a time, and should be quick. A
// handler that throws is answered with 500.
using HttpRoutes = std::map<std::string, std::function<HttpResponse()>, std::less<>>;

// Serves until it is destroyed. Any other path is answered with 404, any other method with 405.
//
// Connections are for short probes. When the limit is reached, a new connection replaces the
// oldest, so that clients that send nothing, or half a request, do not keep others out.
class HttpServer {
 public:
  // Port 0 takes a free port. Returns UNAVAILABLE, naming the address, if it cannot listen there.
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
