// Requests, responses and routes of the HTTP server.
#ifndef WHIPSNAKE_SERVER_HTTP_HTTP_MESSAGE_H_
#define WHIPSNAKE_SERVER_HTTP_HTTP_MESSAGE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/access/scope.h"

namespace whipsnake::server {

struct HttpRequest {
  using Values = std::map<std::string, std::string, std::less<>>;

  std::string method;  // "GET", "HEAD", "POST"
  std::string path;
  // By name, in lower case. The values of a name that is repeated are joined with ", ".
  Values headers = {};
  Values query = {};  // decoded
  std::string body = {};

  // "" if there is none.
  std::string_view Header(std::string_view name) const { return Find(headers, name); }
  std::string_view Argument(std::string_view name) const { return Find(query, name); }

 private:
  static std::string_view Find(const Values& values, std::string_view name) {
    const auto found = values.find(name);
    return found == values.end() ? std::string_view() : found->second;
  }
};

// A body that is made while it is sent. Begin is called once and before Take; Take is called on the
// server's thread. Cancel may be called on any thread, also more than once and after the end.
// Neither may wait.
class HttpStream {
 public:
  struct Part {
    std::string bytes;
    bool end = false;  // nothing follows
  };

  virtual ~HttpStream() = default;
  // `wake` is thread-safe and remains valid. It must be called when Take has something new after it
  // has returned an empty part, and not with a lock held that Take takes.
  virtual void Begin(std::function<void()> wake) = 0;
  // Returns what there is, which may be nothing.
  virtual Part Take() = 0;
  // The client has gone, or the server stops. Take is not called any more.
  virtual void Cancel() = 0;
};

struct HttpResponse {
  int code = 200;
  std::string body = {};
  std::string content_type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::shared_ptr<HttpStream> stream = nullptr;  // sent in place of `body`
};

// Gives the response of a request: once, on any thread, before the handler returns or later.
using HttpAnswer = std::function<void(HttpResponse)>;

// Handlers run on the server's only thread, one at a time, and must not wait. One that throws
// before it has answered is answered with 500.
using HttpHandler = std::function<void(const HttpRequest&, const HttpAnswer&)>;

struct HttpRoute {
  HttpHandler handler;
  // The bytes that the body of a POST may have. 0: the route is for GET and HEAD, and no others.
  size_t max_body = 0;
  Scope scope = Scope::kAdmin;  // of a caller, if the server has tokens
};

// By path.
using HttpRoutes = std::map<std::string, HttpRoute, std::less<>>;

// A route for GET and HEAD whose response is made at once.
HttpRoute GetRoute(Scope scope, std::function<HttpResponse(const HttpRequest&)> respond);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_HTTP_HTTP_MESSAGE_H_
