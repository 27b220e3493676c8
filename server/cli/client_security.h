// How a client command shows who it is and whom it trusts: a token, and TLS.
#ifndef WHIPSNAKE_SERVER_CLI_CLIENT_SECURITY_H_
#define WHIPSNAKE_SERVER_CLI_CLIENT_SECURITY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/cli/command.h"

namespace grpc {
class ChannelArguments;
class ChannelCredentials;
class Status;
namespace experimental {
class ClientInterceptorFactoryInterface;
}  // namespace experimental
}  // namespace grpc

namespace whipsnake::server {

// The flags, and what Prepare has read. A token is never a flag: every user of the machine sees the
// command lines of all processes.
struct ClientSecurity {
  std::string token_file;  // or the variable WHIPSNAKE_TOKEN
  bool insecure_token = false;
  bool tls = false;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_server_name;

  // Set by Prepare: the contents of the files.
  std::string token;
  std::string ca, certificate, key;  // in PEM

  bool uses_tls() const { return tls || !tls_ca.empty() || !tls_cert.empty(); }
};

void AddSecurityFlags(Command command, ClientSecurity& security);

// Reads the files. INVALID_ARGUMENT, which names the flag, for one that is not what it should be,
// and for a token that would be sent to another machine without encryption. `local`: the server is
// on this machine.
absl::Status Prepare(ClientSecurity& security, bool local);

// For the channel, after Prepare.
std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ClientSecurity& security);
void AddChannelArguments(const ClientSecurity& security, grpc::ChannelArguments& arguments);
// Add the token to the metadata of each call.
std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
TokenInterceptors(const ClientSecurity& security);

// What to do about a failed call: text for the end of its message, "" if nothing is known.
// `connected`: the call reached a server.
std::string SecurityAdvice(const grpc::Status& status, const ClientSecurity& security,
                           bool connected);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_CLIENT_SECURITY_H_
