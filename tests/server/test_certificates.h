// Certificates for tests: an authority, and certificates that it has signed.
#ifndef WHIPSNAKE_TESTS_SERVER_TEST_CERTIFICATES_H_
#define WHIPSNAKE_TESTS_SERVER_TEST_CERTIFICATES_H_

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <string>

namespace whipsnake::server {

// A key and its certificate, signed by another one or by itself. Its times are relative to now.
class TestCertificate {
 public:
  static constexpr std::chrono::seconds kDay{86'400};

  explicit TestCertificate(const std::string& common_name, const TestCertificate* issuer = nullptr,
                           std::chrono::seconds begins = -kDay, std::chrono::seconds ends = kDay)
      : key_(EVP_EC_gen("P-256"), EVP_PKEY_free), certificate_(X509_new(), X509_free) {
    X509* const certificate = certificate_.get();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), begins.count());
    X509_gmtime_adj(X509_getm_notAfter(certificate), ends.count());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                               0);
    const TestCertificate& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(certificate, X509_get_subject_name(signer.certificate_.get()));
    X509_set_pubkey(certificate, key_.get());
    X509_sign(certificate, signer.key_.get(), EVP_sha256());
  }

  std::string certificate() const {
    return Pem([this](BIO* bio) { PEM_write_bio_X509(bio, certificate_.get()); });
  }
  std::string key() const {
    return Pem([this](BIO* bio) {
      PEM_write_bio_PrivateKey(bio, key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }
  // With a password.
  std::string encrypted_key() const {
    return Pem([this](BIO* bio) {
      PEM_write_bio_PrivateKey(bio, key_.get(), EVP_aes_128_cbc(), nullptr, 0, nullptr,
                               const_cast<char*>("password"));
    });
  }

 private:
  template <typename Write>
  static std::string Pem(const Write& write) {
    BIO* const bio = BIO_new(BIO_s_mem());
    write(bio);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string text(data, size);
    BIO_free(bio);
    return text;
  }

  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
  const std::unique_ptr<X509, void (*)(X509*)> certificate_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_TEST_CERTIFICATES_H_
