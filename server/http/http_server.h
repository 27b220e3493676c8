// A small HTTP server for metrics, probes and the console: fixed paths on one thread.
#ifndef WHIPSNAKE_SERVER_HTTP_HTTP_SERVER_H_
#define WHIPSNAKE_SERVER_HTTP_HTTP_SERVER_H_

#include <memory>
#include <set>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/acceptor.h"
#include "server/http/hangups.h"
#include "server/http/http_message.h"

struct MHD_Daemon;

namespace whipsnake::server {

class AccessControl;
class Certificates;
class HttpExchange;
class HttpTls;

// Who may use the port, and how it is encrypted. What is pointed to must outlive the server.
struct HttpSecurity {
  const AccessControl* access = nullptr;       // null: everyone may use every route
  const Certificates* certificates = nullptr;  // null: no TLS
};

// Serves until it is destroyed. A path without a route is answered with 404, another method than
// the route's with 405, and a body that is larger than the route allows with 413; a body must say
// its length (411). A caller who may not use the route is answered as http_gate.h says, whatever
// the method.
//
// Connections are for short requests. When the limit is reached, a new connection replaces the
// oldest, so that clients that send nothing, or half a request, do not keep others out.
class HttpServer {
 public:
  // Port 0 takes a free port. Returns UNAVAILABLE, naming the address, if it cannot listen there,
  // and INVALID_ARGUMENT for certificates that HttpTls does not take. `socket_mode`: the
  // permissions of the file, if the address is a Unix socket.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const ListenAddress& address,
                                                           HttpRoutes routes,
                                                           int64_t max_connections,
                                                           HttpSecurity security = {},
                                                           mode_t socket_mode = 0660);
  // Requests in progress are given up, and their streams cancelled.
  ~HttpServer();

  const Acceptor& acceptor() const { return *acceptor_; }

 private:
  friend class HttpCallbacks;

  HttpServer(std::unique_ptr<Acceptor> acceptor, std::unique_ptr<Hangups> hangups,
             HttpRoutes routes, HttpSecurity security, std::unique_ptr<HttpTls> tls);

  const std::unique_ptr<Acceptor> acceptor_;
  const std::unique_ptr<Hangups> hangups_;
  const HttpRoutes routes_;
  const HttpSecurity security_;
  const std::unique_ptr<HttpTls> tls_;  // null: no TLS
  MHD_Daemon* daemon_ = nullptr;
  engine::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<std::shared_ptr<HttpExchange>> exchanges_ ABSL_GUARDED_BY(mutex_);  // in progress
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_HTTP_HTTP_SERVER_H_
