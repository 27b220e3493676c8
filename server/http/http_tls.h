// TLS for the HTTP port, with certificates that change while the server runs.
#ifndef WHIPSNAKE_SERVER_HTTP_HTTP_TLS_H_
#define WHIPSNAKE_SERVER_HTTP_HTTP_TLS_H_

#include <microhttpd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/access/certificates.h"

namespace whipsnake::server {

// What a connection uses for its handshake; see the source.
struct HttpTlsCredentials;

// Gives each new connection of a libmicrohttpd daemon the certificates of that time. The functions
// that the daemon calls run on its thread.
class HttpTls {
 public:
  // INVALID_ARGUMENT if GnuTLS does not take the certificates. `certificates` must outlive the
  // object.
  static absl::StatusOr<std::unique_ptr<HttpTls>> Make(const Certificates& certificates);
  ~HttpTls();

  // For MHD_OPTION_ARRAY, with MHD_USE_TLS. They are valid as long as the object, which must
  // outlive the daemon.
  std::vector<MHD_OptionItem> Options();

 private:
  // A connection that cannot be prepared gets no credentials, so its handshake fails.
  static void OnConnection(void* tls, MHD_Connection* connection, void** context,
                           MHD_ConnectionNotificationCode code);

  explicit HttpTls(const Certificates& certificates)
      : certificates_(certificates), first_(certificates.current()) {}

  void Prepare(MHD_Connection* connection, void** context);
  // Takes over the current certificates; the ones before stay if GnuTLS does not take them.
  absl::Status Refresh();

  const Certificates& certificates_;
  const std::shared_ptr<const TlsMaterial> first_;  // what the library is started with
  int64_t number_ = -1;                             // of the material that was taken over, or tried
  std::shared_ptr<const HttpTlsCredentials> credentials_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_HTTP_HTTP_TLS_H_
