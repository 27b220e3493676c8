#include "server/http/http_server.h"

#include <microhttpd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/access/certificates.h"
#include "server/guarded.h"
#include "server/http/http_exchange.h"
#include "server/http/http_gate.h"
#include "server/http/http_tls.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

constexpr unsigned kIdleSeconds = 10;
// Memory of a connection, for the head of the request and of the response.
constexpr size_t kConnectionBytes = 16 << 10;

MHD_Result AddHeader(void* values, MHD_ValueKind, const char* name, const char* value) {
  std::string& text = (*static_cast<HttpRequest::Values*>(values))[absl::AsciiStrToLower(name)];
  if (!text.empty()) text += ", ";
  if (value != nullptr) text += value;
  return MHD_YES;
}

MHD_Result AddArgument(void* values, MHD_ValueKind, const char* name, const char* value) {
  (*static_cast<HttpRequest::Values*>(values))[name] = value == nullptr ? "" : value;
  return MHD_YES;
}

HttpRequest RequestOf(MHD_Connection* connection, const char* path, const char* method) {
  HttpRequest request{.method = method, .path = path};
  MHD_get_connection_values(connection, MHD_HEADER_KIND, &AddHeader, &request.headers);
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &AddArgument, &request.query);
  return request;
}

HttpResponse WrongMethod(const std::string& allowed, std::string_view text) {
  return {.code = MHD_HTTP_METHOD_NOT_ALLOWED,
          .body = absl::StrCat(engine::ToAbsl(text), "\n"),
          .headers = {{MHD_HTTP_HEADER_ALLOW, allowed}}};
}

// Returns the response if the head of the request suffices to refuse it.
std::optional<HttpResponse> Refused(const HttpRoute& route, const HttpRequest& request) {
  if (route.max_body == 0) {
    if (request.method == MHD_HTTP_METHOD_GET || request.method == MHD_HTTP_METHOD_HEAD) {
      return std::nullopt;
    }
    return WrongMethod("GET, HEAD", "GET or HEAD only");
  }
  if (request.method != MHD_HTTP_METHOD_POST) return WrongMethod("POST", "POST only");
  uint64_t length = 0;
  if (!absl::SimpleAtoi(engine::ToAbsl(request.Header("content-length")), &length)) {
    return HttpResponse{MHD_HTTP_LENGTH_REQUIRED, "a Content-Length is required\n"};
  }
  if (length <= route.max_body) return std::nullopt;
  return HttpResponse{
      MHD_HTTP_CONTENT_TOO_LARGE,
      absl::StrCat("the body has ", length, " bytes; at most ", route.max_body, " are accepted\n")};
}

void LogFromLibrary(void*, const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof(text), format, arguments);
  RunGuarded("http", [&] {
    LogLimited(LogLevel::kWarning, "http", {{"detail", std::string(text)}});
  });
}

}  // namespace

// What libmicrohttpd calls, on its thread. The state of a request is a pointer to a shared one to
// its exchange; null before there is one.
class HttpCallbacks {
 public:
  using ExchangePtr = std::shared_ptr<HttpExchange>;

  static MHD_Result Handle(void* server, MHD_Connection* connection, const char* path,
                           const char* method, const char*, const char* upload, size_t* upload_size,
                           void** state) {
    // An exception must not pass through the library, which is written in C.
    MHD_Result result = MHD_NO;
    RunGuarded("http", [&] {
      if (*state == nullptr) {
        result = Begin(*static_cast<HttpServer*>(server), connection, path, method, state);
        return;
      }
      HttpExchange& exchange = **static_cast<ExchangePtr*>(*state);
      if (*upload_size > 0) {
        exchange.AddToBody({upload, std::exchange(*upload_size, 0)});
        result = MHD_YES;
        return;
      }
      result = exchange.Proceed();
    });
    return result;
  }

  static void Complete(void* server, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
    const auto* exchange = static_cast<ExchangePtr*>(std::exchange(*state, nullptr));
    if (exchange == nullptr) return;
    RunGuarded("http", [&] { (*exchange)->Complete(); });
    auto& owner = *static_cast<HttpServer*>(server);
    {
      engine::MutexLock lock(owner.mutex_);
      owner.exchanges_.erase(*exchange);
    }
    delete exchange;
  }

 private:
  // Called with the head of a request.
  static MHD_Result Begin(HttpServer& server, MHD_Connection* connection, const char* path,
                          const char* method, void** state) {
    const auto route = server.routes_.find(std::string_view(path));
    if (route == server.routes_.end()) {
      return SendResponse(connection, {MHD_HTTP_NOT_FOUND, "not found\n"});
    }
    HttpRequest request = RequestOf(connection, path, method);
    if (server.security_.access != nullptr) {
      const auto refused = RefuseCaller(*server.security_.access, route->second, request);
      if (refused) return SendResponse(connection, *refused);
    }
    if (const auto refused = Refused(route->second, request)) {
      return SendResponse(connection, *refused);
    }
    auto exchange = std::make_unique<ExchangePtr>(std::make_shared<HttpExchange>(
        connection, route->second, std::move(request), *server.hangups_));
    engine::MutexLock lock(server.mutex_);
    if (server.stopping_) return MHD_NO;
    server.exchanges_.insert(*exchange);
    *state = exchange.release();
    return MHD_YES;
  }
};

HttpServer::HttpServer(std::unique_ptr<Acceptor> acceptor, std::unique_ptr<Hangups> hangups,
                       HttpRoutes routes, HttpSecurity security, std::unique_ptr<HttpTls> tls)
    : acceptor_(std::move(acceptor)),
      hangups_(std::move(hangups)),
      routes_(std::move(routes)),
      security_(security),
      tls_(std::move(tls)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const ListenAddress& address,
                                                              HttpRoutes routes,
                                                              int64_t max_connections,
                                                              HttpSecurity security,
                                                              mode_t socket_mode) {
  ASSIGN_OR_RETURN(auto acceptor,
                   Acceptor::Listen(address, {.name = "http",
                                              .max_connections = max_connections,
                                              .at_limit = Acceptor::AtLimit::kCloseOldest,
                                              .socket_mode = socket_mode}));
  ASSIGN_OR_RETURN(auto hangups, Hangups::Start());
  std::unique_ptr<HttpTls> tls;
  if (security.certificates != nullptr) {
    ASSIGN_OR_RETURN(tls, HttpTls::Make(*security.certificates));
  }
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(acceptor), std::move(hangups),
                                                    std::move(routes), security, std::move(tls)));
  const std::vector<MHD_OptionItem> encryption =
      server->tls_ != nullptr ? server->tls_->Options()
                              : std::vector{MHD_OptionItem{MHD_OPTION_END, 0, nullptr}};
  constexpr unsigned kFlags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                              MHD_USE_ITC | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME;
  server->daemon_ = MHD_start_daemon(
      server->tls_ == nullptr ? kFlags : kFlags | MHD_USE_TLS, 0, nullptr, nullptr,
      &HttpCallbacks::Handle, server.get(), MHD_OPTION_EXTERNAL_LOGGER, &LogFromLibrary,
      nullptr,  // first, because it takes effect from there on
      MHD_OPTION_NOTIFY_COMPLETED, &HttpCallbacks::Complete, server.get(),
      // Leaves room for connections that the acceptor has just closed.
      MHD_OPTION_CONNECTION_LIMIT, static_cast<unsigned>(2 * max_connections),
      MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      kConnectionBytes, MHD_OPTION_ARRAY, encryption.data(), MHD_OPTION_END);
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
  std::set<std::shared_ptr<HttpExchange>> exchanges;
  {
    engine::MutexLock lock(mutex_);
    stopping_ = true;
    exchanges = exchanges_;
  }
  // The library must not be stopped while a connection is suspended.
  for (const auto& exchange : exchanges) exchange->Abandon();
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

}  // namespace whipsnake::server
