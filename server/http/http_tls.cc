#include "server/http/http_tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/guarded.h"
#include "server/logging.h"

namespace whipsnake::server {

struct HttpTlsCredentials {
  HttpTlsCredentials() = default;
  ~HttpTlsCredentials() {
    if (certificate != nullptr) gnutls_certificate_free_credentials(certificate);
  }
  HttpTlsCredentials(const HttpTlsCredentials&) = delete;
  HttpTlsCredentials& operator=(const HttpTlsCredentials&) = delete;

  gnutls_certificate_credentials_t certificate = nullptr;
  bool clients_need_certificates = false;
};

namespace {

using CredentialsPtr = std::shared_ptr<const HttpTlsCredentials>;

gnutls_datum_t DatumOf(const std::string& text) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          static_cast<unsigned>(text.size())};
}

// Called inside the handshake, with the client's certificate: anything but 0 ends it.
int VerifyClient(gnutls_session_t session) {
  gnutls_typed_vdata_st purpose = {};
  purpose.type = GNUTLS_DT_KEY_PURPOSE_OID;
  purpose.data = reinterpret_cast<unsigned char*>(const_cast<char*>(GNUTLS_KP_TLS_WWW_CLIENT));
  unsigned status = 0;
  const int verified = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
  return verified == GNUTLS_E_SUCCESS && status == 0 ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

absl::StatusOr<CredentialsPtr> MakeCredentials(const TlsMaterial& material) {
  const auto credentials = std::make_shared<HttpTlsCredentials>();
  const auto check = [](int code, std::string_view what) {
    return code >= 0 ? absl::OkStatus()
                     : absl::InvalidArgumentError(absl::StrCat(engine::ToAbsl(what), ": GnuTLS ",
                                                               "says: ", gnutls_strerror(code)));
  };
  RETURN_IF_ERROR(check(gnutls_certificate_allocate_credentials(&credentials->certificate), "TLS"));
  const gnutls_datum_t chain = DatumOf(material.certificate_chain), key = DatumOf(material.key);
  RETURN_IF_ERROR(check(gnutls_certificate_set_x509_key_mem(credentials->certificate, &chain, &key,
                                                            GNUTLS_X509_FMT_PEM),
                        "--tls-cert, --tls-key"));
  if (material.client_ca.empty()) return credentials;
  const gnutls_datum_t authority = DatumOf(material.client_ca);
  RETURN_IF_ERROR(check(gnutls_certificate_set_x509_trust_mem(credentials->certificate, &authority,
                                                              GNUTLS_X509_FMT_PEM),
                        "--tls-client-ca"));
  gnutls_certificate_set_verify_function(credentials->certificate, &VerifyClient);
  credentials->clients_need_certificates = true;
  return credentials;
}

}  // namespace

HttpTls::~HttpTls() = default;

absl::StatusOr<std::unique_ptr<HttpTls>> HttpTls::Make(const Certificates& certificates) {
  std::unique_ptr<HttpTls> tls(new HttpTls(certificates));
  RETURN_IF_ERROR(tls->Refresh());
  return tls;
}

std::vector<MHD_OptionItem> HttpTls::Options() {
  // From version 1.2 on.
  static constexpr char kPriorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
  const auto text = [](MHD_OPTION option, const char* value) {
    return MHD_OptionItem{option, 0, const_cast<char*>(value)};
  };
  return {text(MHD_OPTION_HTTPS_MEM_CERT, first_->certificate_chain.c_str()),
          text(MHD_OPTION_HTTPS_MEM_KEY, first_->key.c_str()),
          text(MHD_OPTION_HTTPS_PRIORITIES, kPriorities),
          {MHD_OPTION_NOTIFY_CONNECTION, reinterpret_cast<intptr_t>(&HttpTls::OnConnection), this},
          {MHD_OPTION_END, 0, nullptr}};
}

absl::Status HttpTls::Refresh() {
  const std::shared_ptr<const TlsMaterial> material = certificates_.current();
  if (material->number == std::exchange(number_, material->number)) return absl::OkStatus();
  ASSIGN_OR_RETURN(credentials_, MakeCredentials(*material));
  return absl::OkStatus();
}

void HttpTls::OnConnection(void* tls, MHD_Connection* connection, void** context,
                           MHD_ConnectionNotificationCode code) {
  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    delete static_cast<CredentialsPtr*>(std::exchange(*context, nullptr));
    return;
  }
  // An exception must not pass through the library, which is written in C. The session then has no
  // credentials, and the handshake fails.
  RunGuarded("http", [&] { static_cast<HttpTls*>(tls)->Prepare(connection, context); });
}

// Called before the handshake. The library's own way to choose a certificate for a connection can
// neither require a certificate of the client nor change whose certificates count.
void HttpTls::Prepare(MHD_Connection* connection, void** context) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
  if (info == nullptr) return;
  auto* const session = static_cast<gnutls_session_t>(info->tls_session);
  gnutls_credentials_clear(session);
  if (const absl::Status refreshed = Refresh(); !refreshed.ok()) {
    Log(LogLevel::kError, "the HTTP port keeps its certificates",
        {{"error", std::string(refreshed.message())}});
  }
  auto held = std::make_unique<CredentialsPtr>(credentials_);  // the session has only a pointer
  gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, (*held)->certificate);
  gnutls_certificate_server_set_request(
      session, (*held)->clients_need_certificates ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
  *context = held.release();
}

}  // namespace whipsnake::server
