// TLS for gRPC, with certificates that change while the server runs.
#ifndef WHIPSNAKE_SERVER_RPC_TLS_CREDENTIALS_H_
#define WHIPSNAKE_SERVER_RPC_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "server/access/certificates.h"

namespace grpc {
class ServerContextBase;
}

namespace whipsnake::server {

// Credentials for one port: TLS from version 1.2 on. Every handshake uses what `certificates` has
// at that time; with a client_ca it fails for a client without a certificate of that authority.
// `certificates` must outlive the server. The time for a handshake is gRPC's:
// GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS.
std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(const Certificates& certificates);

// The common name of the verified certificate that the client of a call has presented; "" if there
// is none.
std::string CertificateNameOf(const grpc::ServerContextBase& context);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_TLS_CREDENTIALS_H_
