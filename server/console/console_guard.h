// Keeps web pages of other origins away from the console.
//
// A browser on the operator's machine reaches a loopback address for any page that it shows. A page
// of another origin cannot read the replies, but it can send requests; and a page whose host name
// resolves to a loopback address (DNS rebinding) could read them too. So every request must name a
// host that is the server's, and a request that acts must be one that only a page of the same
// origin can send.
#ifndef WHIPSNAKE_SERVER_CONSOLE_CONSOLE_GUARD_H_
#define WHIPSNAKE_SERVER_CONSOLE_CONSOLE_GUARD_H_

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/http/http_message.h"
#include "server/listen_address.h"

namespace whipsnake::server {

// Thread-safe.
class ConsoleGuard {
 public:
  // A header that forms and links cannot have, and that a page of another origin may send only
  // after a preflight request, which the server refuses.
  static constexpr std::string_view kHeader = "x-whipsnake-console";

  // `hosts`: further names that requests may have in Host, without a port.
  ConsoleGuard(const ListenAddress& address, const std::vector<std::string>& hosts);

  // PERMISSION_DENIED, with a reason, unless Host is the address that the server listens on,
  // localhost, a loopback address, or one of `hosts`, with any port: tunnels change it.
  absl::Status CheckHost(const HttpRequest& request) const;
  // CheckHost, and for a browser that tells: that the request comes from a page of the same origin.
  // Address bars and bookmarks may open it too.
  absl::Status CheckRead(const HttpRequest& request) const;
  // CheckHost; Content-Type is application/json; kHeader is there; Origin, if given, is that of
  // Host; and Sec-Fetch-Site, if given, is same-origin.
  absl::Status CheckAction(const HttpRequest& request) const;

 private:
  std::set<std::string, std::less<>> hosts_;  // in lower case
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONSOLE_CONSOLE_GUARD_H_
