#include "server/cli/client_security.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>
#include <grpcpp/support/status.h>
#include <sys/stat.h>

#include <cstdlib>
#include <iostream>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/access/token.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kMaxTokenFileBytes = 4096;
constexpr int64_t kMaxPemBytes = 1 << 20;
constexpr char kTokenVariable[] = "WHIPSNAKE_TOKEN";

// Adds the token to the metadata of a call. Credentials of a call would be the library's way, but
// it sends them only over TLS, and a server on this machine needs none.
class TokenSender final : public grpc::experimental::Interceptor {
 public:
  explicit TokenSender(const std::string& token) : token_(token) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", "Bearer " + token_);
    }
    methods->Proceed();
  }

 private:
  const std::string& token_;
};

class TokenSenders final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit TokenSenders(std::string token) : token_(std::move(token)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new TokenSender(token_);
  }

 private:
  const std::string token_;
};

// The token is not in the errors: they are shown and logged.
absl::StatusOr<std::string> CheckedToken(std::string_view origin, std::string_view text) {
  const absl::string_view token = absl::StripAsciiWhitespace(engine::ToAbsl(text));
  if (IsToken({token.data(), token.size()})) return std::string(token);
  return engine::InvalidField(origin, "another text", "a token: wsn_ and 43 characters");
}

void WarnOfReaders(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0 || (info.st_mode & (S_IRGRP | S_IROTH)) == 0) return;
  std::cerr << "warning: others than its owner may read " << path << "; chmod go-r mends that\n";
}

absl::StatusOr<std::string> ReadToken(const ClientSecurity& security) {
  if (!security.token_file.empty()) {
    if (IsTokenForPath(security.token_file)) {
      return engine::InvalidField("--token-file", "a token", "the path of a file that has it");
    }
    const auto text = engine::ReadTextFile(security.token_file, kMaxTokenFileBytes);
    if (!text.ok()) return RedactTokens(engine::WithContext(text.status(), "--token-file"));
    WarnOfReaders(security.token_file);
    return CheckedToken(absl::StrCat("--token-file ", security.token_file), *text);
  }
  const char* variable = std::getenv(kTokenVariable);
  if (variable == nullptr || *variable == '\0') return std::string();
  return CheckedToken(kTokenVariable, variable);
}

absl::Status ReadPem(std::string_view flag, const std::string& path, std::string& pem) {
  if (path.empty()) return absl::OkStatus();
  auto text = engine::ReadTextFile(path, kMaxPemBytes);
  if (!text.ok()) return engine::WithContext(text.status(), flag);
  if (!absl::StrContains(*text, "-----BEGIN ")) return engine::InvalidField(flag, path, "PEM");
  pem = *std::move(text);
  return absl::OkStatus();
}

}  // namespace

void AddSecurityFlags(Command command, ClientSecurity& security) {
  command
      .AddOption(
          "--token-file", security.token_file,
          "File with the token that the server wants; or the token itself in WHIPSNAKE_TOKEN")
      .TypeName("FILE")
      .Environment("WHIPSNAKE_TOKEN_FILE");
  command.AddFlag("--insecure-token", security.insecure_token,
                  "Sends the token to another machine although nothing is encrypted");
  command.AddFlag("--tls", security.tls,
                  "Speaks TLS, and trusts the authorities of this system; --tls-ca and --tls-cert "
                  "imply it");
  command
      .AddOption("--tls-ca", security.tls_ca,
                 "Certificates of the authorities that the server's may be of, in PEM")
      .TypeName("FILE")
      .Environment("WHIPSNAKE_TLS_CA");
  Option cert =
      command.AddOption("--tls-cert", security.tls_cert, "Certificate of this client, in PEM");
  Option key =
      command.AddOption("--tls-key", security.tls_key, "Private key of --tls-cert, in PEM");
  cert.TypeName("FILE").Needs(key);
  key.TypeName("FILE").Needs(cert);
  command
      .AddOption("--tls-server-name", security.tls_server_name,
                 "The name that the server's certificate is for (default: that of --server)")
      .TypeName("NAME");
}

absl::Status Prepare(ClientSecurity& security, bool local) {
  ASSIGN_OR_RETURN(security.token, ReadToken(security));
  if (!security.token.empty() && !security.uses_tls() && !local && !security.insecure_token) {
    return absl::InvalidArgumentError(
        "the token would be sent to another machine without encryption, where whoever is on the "
        "way can read it; --tls, or --tls-ca FILE, encrypts, and --insecure-token sends it anyway");
  }
  RETURN_IF_ERROR(ReadPem("--tls-ca", security.tls_ca, security.ca));
  RETURN_IF_ERROR(ReadPem("--tls-cert", security.tls_cert, security.certificate));
  return ReadPem("--tls-key", security.tls_key, security.key);
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ClientSecurity& security) {
  if (!security.uses_tls()) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({.pem_root_certs = security.ca,
                               .pem_private_key = security.key,
                               .pem_cert_chain = security.certificate});
}

void AddChannelArguments(const ClientSecurity& security, grpc::ChannelArguments& arguments) {
  if (security.tls_server_name.empty()) return;
  arguments.SetSslTargetNameOverride(security.tls_server_name);
}

std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
TokenInterceptors(const ClientSecurity& security) {
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> senders;
  if (!security.token.empty()) senders.push_back(std::make_unique<TokenSenders>(security.token));
  return senders;
}

std::string SecurityAdvice(const grpc::Status& status, const ClientSecurity& security,
                           bool connected) {
  const std::string& text = status.error_message();
  if (connected) {
    if (status.error_code() != grpc::StatusCode::UNAUTHENTICATED || !security.token.empty()) {
      return "";
    }
    return "; give it with --token-file FILE or in the variable WHIPSNAKE_TOKEN";
  }
  const bool closed =
      absl::StrContains(text, "Socket closed") || absl::StrContains(text, "reset by peer");
  if (!security.uses_tls()) return closed ? " It may speak TLS: try --tls or --tls-ca FILE." : "";
  if (closed) {
    return security.certificate.empty()
               ? " It may want a certificate: --tls-cert FILE --tls-key FILE."
               : " It may not accept the certificate of --tls-cert.";
  }
  if (absl::StrContains(text, "wrong version number")) {
    return " It does not speak TLS: leave --tls and --tls-ca out.";
  }
  if (absl::StrContains(text, "certificate verify failed")) {
    return " Its certificate is not of a trusted authority: --tls-ca FILE names another one.";
  }
  if (absl::StrContains(text, "not in peer certificate")) {
    return " --tls-server-name NAME gives the name that its certificate is for.";
  }
  return "";
}

}  // namespace whipsnake::server
