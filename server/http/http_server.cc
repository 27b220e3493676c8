#include "server/http/http_server.h"

#include <microhttpd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/guarded.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

constexpr unsigned kIdleSeconds = 10;
// Memory of a connection, for the head of the request and of the response.
constexpr size_t kConnectionBytes = 16 << 10;

MHD_Result Send(MHD_Connection* connection, const HttpResponse& answer) {
  MHD_Response* response = MHD_create_response_from_buffer(
      answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.content_type.c_str());
  MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
  if (answer.code == MHD_HTTP_METHOD_NOT_ALLOWED) {
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  }
  const MHD_Result result =
      MHD_queue_response(connection, static_cast<unsigned>(answer.code), response);
  MHD_destroy_response(response);
  return result;
}

HttpResponse Answer(const HttpRoutes& routes, std::string_view path, std::string_view method) {
  const auto route = routes.find(path);
  if (route == routes.end()) return {MHD_HTTP_NOT_FOUND, "not found\n"};
  if (method != MHD_HTTP_METHOD_GET && method != MHD_HTTP_METHOD_HEAD) {
    return {MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD only\n"};
  }
  // An exception must not pass through the library, which is written in C.
  absl::StatusOr<HttpResponse> answer =
      engine::CatchExceptions([&]() -> absl::StatusOr<HttpResponse> { return route->second(); });
  if (answer.ok()) return *std::move(answer);
  return {MHD_HTTP_INTERNAL_SERVER_ERROR, "the response could not be made\n"};
}

// libmicrohttpd omits the body if the method is HEAD.
MHD_Result Handle(void* server, MHD_Connection* connection, const char* path, const char* method,
                  const char*, const char*, size_t*, void**) {
  return Send(connection, Answer(static_cast<HttpServer*>(server)->routes(), path, method));
}

void LogFromLibrary(void*, const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof(text), format, arguments);
  RunGuarded("http", [&] {
    LogLimited(LogLevel::kWarning, "http", {{"detail", std::string(text)}});
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const ListenAddress& address,
                                                              HttpRoutes routes,
                                                              int64_t max_connections) {
  ASSIGN_OR_RETURN(auto acceptor,
                   Acceptor::Listen(address, {.name = "http",
                                              .max_connections = max_connections,
                                              .at_limit = Acceptor::AtLimit::kCloseOldest}));
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(acceptor), std::move(routes)));
  constexpr unsigned kFlags =
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC | MHD_USE_ERROR_LOG;
  server->daemon_ = MHD_start_daemon(
      kFlags, 0, nullptr, nullptr, &Handle, server.get(), MHD_OPTION_EXTERNAL_LOGGER,
      &LogFromLibrary, nullptr,  // first, because it takes effect from there on
      // Leaves room for connections that the acceptor has just closed.
      MHD_OPTION_CONNECTION_LIMIT, static_cast<unsigned>(2 * max_connections),
      MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      kConnectionBytes, MHD_OPTION_END);
  if (server->daemon_ == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot start the HTTP server on ",
                                               address.ToString(), ": ", std::strerror(errno)));
  }
  server->acceptor_->Start(
      [daemon = server->daemon_](int descriptor, const sockaddr* peer, socklen_t size) {
        MHD_add_connection(daemon, descriptor, peer, size);
      });
  return server;
}

HttpServer::~HttpServer() {
  acceptor_->Stop();
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

}  // namespace whipsnake::server
