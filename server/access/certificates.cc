#include "server/access/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

using WallTime = std::chrono::system_clock::time_point;

constexpr int64_t kMaxPemBytes = 1 << 20;

constexpr std::string_view kCertificateFlag = "--tls-cert";
constexpr std::string_view kKeyFlag = "--tls-key";
constexpr std::string_view kClientCaFlag = "--tls-client-ca";

template <typename T, void (*free)(T*)>
struct Freer {
  void operator()(T* object) const { free(object); }
};
using Certificate = std::unique_ptr<X509, Freer<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY, EVP_PKEY_free>>;
struct BioFreer {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Reader = std::unique_ptr<BIO, BioFreer>;

Reader ReaderOf(const std::string& text) {
  return Reader(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// A key with a password is not read: nobody is there to type it.
int NoPassword(char*, int, int, void*) { return 0; }

std::vector<Certificate> ReadCertificates(const std::string& text) {
  const Reader reader = ReaderOf(text);
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(reader.get(), nullptr, NoPassword, nullptr)) {
    certificates.emplace_back(certificate);
  }
  ERR_clear_error();  // of the end of the text
  return certificates;
}

WallTime TimeOf(const ASN1_TIME* time) {
  std::tm fields = {};
  if (ASN1_TIME_to_tm(time, &fields) != 1) return {};
  return std::chrono::system_clock::from_time_t(timegm(&fields));
}

std::string TimeText(WallTime time) {
  return absl::FormatTime(absl::RFC3339_sec, absl::FromChrono(time), absl::UTCTimeZone());
}

absl::StatusOr<std::string> ReadFile(std::string_view flag, const std::string& path) {
  absl::StatusOr<std::string> text = engine::ReadTextFile(path, kMaxPemBytes);
  if (!text.ok()) return engine::WithContext(text.status(), flag);
  return text;
}

// Checks the certificates of a file, and returns the earliest end of one.
absl::StatusOr<WallTime> CheckCertificates(std::string_view flag, const std::string& path,
                                           const std::vector<Certificate>& certificates,
                                           WallTime now) {
  if (certificates.empty()) return engine::InvalidField(flag, path, "certificates in PEM");
  WallTime earliest = WallTime::max();
  for (const Certificate& certificate : certificates) {
    const WallTime begins = TimeOf(X509_get0_notBefore(certificate.get()));
    const WallTime ends = TimeOf(X509_get0_notAfter(certificate.get()));
    if (now < begins || now >= ends) {
      return engine::InvalidField(
          flag, path,
          absl::StrCat("valid certificates, but one is valid from ", TimeText(begins), " to ",
                       TimeText(ends), " and it is ", TimeText(now)));
    }
    earliest = std::min(earliest, ends);
  }
  return earliest;
}

absl::Status CheckKey(const TlsFiles& files, const std::string& text, X509* certificate) {
  const Reader reader = ReaderOf(text);
  const Key key(PEM_read_bio_PrivateKey(reader.get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return engine::InvalidField(kKeyFlag, files.key, "a private key in PEM, without a password");
  }
  if (X509_check_private_key(certificate, key.get()) != 1) {
    ERR_clear_error();
    return engine::InvalidField(kKeyFlag, files.key,
                                absl::StrCat("the key of the certificate in ", files.certificate));
  }
  return absl::OkStatus();
}

void WarnOfReaders(const std::string& key) {
  struct stat info = {};
  if (stat(key.c_str(), &info) != 0 || (info.st_mode & S_IROTH) == 0) return;
  Log(LogLevel::kWarning, "everyone on this machine may read the private key of TLS",
      {{"file", key}, {"remedy", "chmod o-r"}});
}

}  // namespace

absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsFiles& files, WallTime now) {
  const auto needs = [](std::string_view flag, std::string_view why) {
    return engine::InvalidField(flag, "no file", why);
  };
  if (files.certificate.empty()) return needs(kCertificateFlag, "one: TLS was asked for");
  if (files.key.empty()) return needs(kKeyFlag, "the key of --tls-cert");
  TlsMaterial material;
  ASSIGN_OR_RETURN(material.certificate_chain, ReadFile(kCertificateFlag, files.certificate));
  ASSIGN_OR_RETURN(material.key, ReadFile(kKeyFlag, files.key));
  const std::vector<Certificate> chain = ReadCertificates(material.certificate_chain);
  ASSIGN_OR_RETURN(material.expires,
                   CheckCertificates(kCertificateFlag, files.certificate, chain, now));
  RETURN_IF_ERROR(CheckKey(files, material.key, chain.front().get()));
  WarnOfReaders(files.key);
  if (files.client_ca.empty()) return material;
  ASSIGN_OR_RETURN(material.client_ca, ReadFile(kClientCaFlag, files.client_ca));
  RETURN_IF_ERROR(
      CheckCertificates(kClientCaFlag, files.client_ca, ReadCertificates(material.client_ca), now)
          .status());
  return material;
}

Certificates::Certificates(TlsFiles files, WallClock clock)
    : files_(std::move(files)), clock_(std::move(clock)) {}

absl::StatusOr<std::unique_ptr<Certificates>> Certificates::Open(TlsFiles files, WallClock clock) {
  std::unique_ptr<Certificates> certificates(new Certificates(std::move(files), std::move(clock)));
  const Stamps stamps = certificates->TakeStamps();
  ASSIGN_OR_RETURN(TlsMaterial material,
                   LoadTlsMaterial(certificates->files_, certificates->clock_()));
  engine::MutexLock lock(certificates->mutex_);
  certificates->stamps_ = stamps;
  certificates->current_ = std::make_shared<TlsMaterial>(std::move(material));
  return certificates;
}

std::shared_ptr<const TlsMaterial> Certificates::current() const {
  engine::MutexLock lock(mutex_);
  return current_;
}

Certificates::Stamps Certificates::TakeStamps() const {
  return {StampOf(files_.certificate), StampOf(files_.key), StampOf(files_.client_ca)};
}

absl::Status Certificates::Reload() {
  const Stamps stamps = TakeStamps();  // before reading: a later change is noticed
  absl::StatusOr<TlsMaterial> material = LoadTlsMaterial(files_, clock_());
  if (!material.ok()) {
    Log(LogLevel::kError, "the files of TLS cannot be used; the certificates stay as they were",
        {{"error", std::string(material.status().message())}});
  }
  engine::MutexLock lock(mutex_);
  stamps_ = stamps;
  if (!material.ok()) return material.status();
  material->number = current_->number + 1;
  current_ = std::make_shared<TlsMaterial>(*std::move(material));
  Log(LogLevel::kInfo, "the files of TLS were read again",
      {{"expires", TimeText(current_->expires)}});
  return absl::OkStatus();
}

void Certificates::ReloadIfChanged() {
  {
    engine::MutexLock lock(mutex_);
    if (TakeStamps() == stamps_) return;
  }
  Reload().IgnoreError();  // it was logged
}

}  // namespace whipsnake::server
