// Refuses requests of callers who may not make them.
#ifndef WHIPSNAKE_SERVER_HTTP_HTTP_GATE_H_
#define WHIPSNAKE_SERVER_HTTP_HTTP_GATE_H_

#include <optional>

#include "server/access/access_control.h"
#include "server/http/http_message.h"

namespace whipsnake::server {

// Returns the response to a request that is not admitted: 401 without a valid token, and 403 if the
// token lacks the scope of the route; both say so in WWW-Authenticate, as RFC 6750 has it. A
// request is judged by its token alone: client certificates have no names on this port.
std::optional<HttpResponse> RefuseCaller(const AccessControl& access, const HttpRoute& route,
                                         const HttpRequest& request);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_HTTP_HTTP_GATE_H_
