#include "server/access/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/access/flag_error.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

using WallTime = std::chrono::system_clock::time_point;

constexpr int64_t kMaxPemBytes = 1 << 20;

constexpr std::chrono::hours kExpiresSoon{14 * 24};

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

// At least one.
absl::StatusOr<std::vector<Certificate>> ParseCertificates(std::string_view flag,
                                                           const std::string& path,
                                                           const std::string& text) {
  const Reader reader = ReaderOf(text);
  std::vector<Certificate> certificates;
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509(reader.get(), nullptr, NoPassword, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return engine::InvalidField(
        flag, path,
        absl::StrCat("certificates in PEM, but number ", certificates.size() + 1, " is damaged"));
  }
  if (certificates.empty()) return engine::InvalidField(flag, path, "certificates in PEM");
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
  if (!text.ok()) return FlagError(flag, text.status());
  return text;
}

// The times between which a certificate is valid.
struct Validity {
  explicit Validity(const X509* certificate)
      : begins(TimeOf(X509_get0_notBefore(certificate))),
        ends(TimeOf(X509_get0_notAfter(certificate))) {}

  bool Has(WallTime now) const { return begins <= now && now < ends; }
  std::string ToString() const {
    return absl::StrCat("valid from ", TimeText(begins), " to ", TimeText(ends));
  }

  WallTime begins, ends;
};

std::string SubjectOf(const X509* certificate) {
  std::array<char, 256> text = {};
  X509_NAME_oneline(X509_get_subject_name(certificate), text.data(), text.size());
  return text.data();
}

// Checks the certificates that the server presents, and returns the earliest end of one.
absl::StatusOr<WallTime> CheckChain(const std::string& path, const std::vector<Certificate>& chain,
                                    WallTime now) {
  WallTime earliest = WallTime::max();
  for (const Certificate& certificate : chain) {
    const Validity validity(certificate.get());
    if (!validity.Has(now)) {
      return engine::InvalidField(kCertificateFlag, path,
                                  absl::StrCat("valid certificates, but one is ",
                                               validity.ToString(), " and it is ", TimeText(now)));
    }
    earliest = std::min(earliest, validity.ends);
  }
  return earliest;
}

// Returns the authorities that are not valid now. An old one may stay in its bundle beside the one
// that has replaced it, so it is no error while there is a valid one.
absl::StatusOr<std::vector<std::string>> CheckAuthorities(
    const std::string& path, const std::vector<Certificate>& authorities, WallTime now) {
  std::vector<std::string> invalid;
  for (const Certificate& authority : authorities) {
    const Validity validity(authority.get());
    if (validity.Has(now)) continue;
    invalid.push_back(absl::StrCat(SubjectOf(authority.get()), " ", validity.ToString()));
  }
  if (invalid.size() < authorities.size()) return invalid;
  return engine::InvalidField(kClientCaFlag, path,
                              absl::StrCat("a valid certificate, but all are out of their time: ",
                                           invalid.front(), ", and it is ", TimeText(now)));
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

void WarnOfKeyReaders(const std::string& key) {
  struct stat info = {};
  if (stat(key.c_str(), &info) != 0 || (info.st_mode & S_IROTH) == 0) return;
  Log(LogLevel::kWarning, "everyone on this machine may read the private key of TLS",
      {{"file", key}, {"remedy", "chmod o-r"}});
}

// Says what an operator should know of files that can be used.
void LogFiles(std::string_view message, const TlsFiles& files, const TlsMaterial& material,
              WallTime now) {
  Log(LogLevel::kInfo, message, {{"expires", TimeText(material.expires)}});
  if (material.expires - now < kExpiresSoon) {
    Log(LogLevel::kWarning, "the server's certificate expires soon",
        {{"file", files.certificate},
         {"expires", TimeText(material.expires)},
         {"hours_left",
          std::chrono::duration_cast<std::chrono::hours>(material.expires - now).count()}});
  }
  if (!material.invalid_authorities.empty()) {
    Log(LogLevel::kWarning,
        "certificates of authorities are not valid now; their clients are refused",
        {{"file", files.client_ca},
         {"count", static_cast<int64_t>(material.invalid_authorities.size())},
         {"first", material.invalid_authorities.front()}});
  }
  WarnOfKeyReaders(files.key);
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
  ASSIGN_OR_RETURN(
      const std::vector<Certificate> chain,
      ParseCertificates(kCertificateFlag, files.certificate, material.certificate_chain));
  ASSIGN_OR_RETURN(material.expires, CheckChain(files.certificate, chain, now));
  RETURN_IF_ERROR(CheckKey(files, material.key, chain.front().get()));
  if (files.client_ca.empty()) return material;
  ASSIGN_OR_RETURN(material.client_ca, ReadFile(kClientCaFlag, files.client_ca));
  ASSIGN_OR_RETURN(const std::vector<Certificate> authorities,
                   ParseCertificates(kClientCaFlag, files.client_ca, material.client_ca));
  ASSIGN_OR_RETURN(material.invalid_authorities,
                   CheckAuthorities(files.client_ca, authorities, now));
  return material;
}

Certificates::Certificates(TlsFiles files, WallClock clock)
    : files_(std::move(files)), clock_(std::move(clock)) {}

absl::StatusOr<std::unique_ptr<Certificates>> Certificates::Open(TlsFiles files, WallClock clock) {
  std::unique_ptr<Certificates> certificates(new Certificates(std::move(files), std::move(clock)));
  const Stamps stamps = certificates->TakeStamps();
  const WallTime now = certificates->clock_();
  ASSIGN_OR_RETURN(TlsMaterial material, LoadTlsMaterial(certificates->files_, now));
  LogFiles("the files of TLS were read", certificates->files_, material, now);
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
  const WallTime now = clock_();
  absl::StatusOr<TlsMaterial> material = LoadTlsMaterial(files_, now);
  const absl::Status status = material.status();
  std::shared_ptr<TlsMaterial> read;
  if (status.ok()) read = std::make_shared<TlsMaterial>(*std::move(material));
  {
    engine::MutexLock lock(mutex_);
    stamps_ = stamps;
    if (read != nullptr) {
      read->number = current_->number + 1;
      current_ = read;
    }
  }
  if (status.ok()) {
    LogFiles("the files of TLS were read again", files_, *read, now);
  } else {
    Log(LogLevel::kError, "the files of TLS cannot be used; the certificates stay as they were",
        {{"error", std::string(status.message())}});
  }
  return status;
}

void Certificates::ReloadIfChanged() {
  const Stamps stamps = TakeStamps();
  {
    engine::MutexLock lock(mutex_);
    if (stamps == stamps_) return;
  }
  Reload().IgnoreError();  // it was logged
}

}  // namespace whipsnake::server
