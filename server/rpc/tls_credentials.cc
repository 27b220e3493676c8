#include "server/rpc/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/exceptions.h"

namespace whipsnake::server {
namespace {

// The library's C++ interface has no way to change a server's certificates, apart from one that
// reads the files itself and refuses all clients once they do not fit together. Its C interface
// asks before each handshake. This class is the bridge.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  explicit TlsCredentials(const Certificates& certificates)
      : certificates_(certificates),
        credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                certificates.current()->client_ca.empty()
                    ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                    : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
                &TlsCredentials::Fetch, this))) {}
  ~TlsCredentials() override { grpc_server_credentials_release(credentials_); }

  // Calls are admitted by their contexts.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // Called before each handshake, with a lock of the library's held.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* credentials, grpc_ssl_server_certificate_config** config) {
    auto status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;  // it goes on with what it has
    engine::CatchExceptions([&] {
      status = static_cast<TlsCredentials*>(credentials)->FetchCurrent(config);
    }).IgnoreError();
    return status;
  }

  grpc_ssl_certificate_config_reload_status FetchCurrent(
      grpc_ssl_server_certificate_config** config) {
    const std::shared_ptr<const TlsMaterial> material = certificates_.current();
    if (material->number == fetched_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {material->key.c_str(),
                                             material->certificate_chain.c_str()};
    // The library wants authorities even if it asks no client for a certificate.
    const std::string& authorities =
        material->client_ca.empty() ? material->certificate_chain : material->client_ca;
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    fetched_ = material->number;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const Certificates& certificates_;
  int64_t fetched_ = -1;  // the number of the last material; guarded by the library's lock
  grpc_server_credentials* const credentials_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(const Certificates& certificates) {
  return std::make_shared<TlsCredentials>(certificates);
}

std::string CertificateNameOf(const grpc::ServerContextBase& context) {
  // auth_context is protected in the base; every context of the callback API is of this class.
  const auto* call = dynamic_cast<const grpc::CallbackServerContext*>(&context);
  const auto auth = call == nullptr ? nullptr : call->auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return "";
  const std::vector<grpc::string_ref> names = auth->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
  return names.size() == 1 ? std::string(names.front().data(), names.front().size()) : "";
}

}  // namespace whipsnake::server
