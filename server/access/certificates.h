// The files of TLS: the server's certificate, its key, and the authority of client certificates.
#ifndef WHIPSNAKE_SERVER_ACCESS_CERTIFICATES_H_
#define WHIPSNAKE_SERVER_ACCESS_CERTIFICATES_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/access/file_stamp.h"

namespace whipsnake::server {

// Paths of files in PEM.
struct TlsFiles {
  std::string certificate;  // --tls-cert: the server's, then those that lead to its authority
  std::string key;          // --tls-key
  std::string client_ca;    // --tls-client-ca: clients must have a certificate of one of these

  bool any() const { return !certificate.empty() || !key.empty() || !client_ca.empty(); }
};

// The contents of the files, which fit together.
struct TlsMaterial {
  std::string certificate_chain;
  std::string key;
  std::string client_ca;                          // "": clients need no certificate
  std::chrono::system_clock::time_point expires;  // the first of the chain to
  // The authorities that are not valid now, and when they are; their clients are refused.
  std::vector<std::string> invalid_authorities;
  int64_t number = 0;  // of this version; a later one has a larger number
};

// Reads and checks the files: PEM, the key is that of the certificate and has no password, and the
// certificates of the server, all of them, and at least one authority are valid now.
// INVALID_ARGUMENT, which names the flag and the path, if not.
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsFiles& files,
                                            std::chrono::system_clock::time_point now);

// What the ports present at present. Thread-safe.
class Certificates {
 public:
  using WallClock = std::function<std::chrono::system_clock::time_point()>;

  // Returns the error of LoadTlsMaterial. The log says until when the certificate is valid; it
  // warns of less than 14 days, of authorities that are not valid, and of a key that everyone may
  // read.
  static absl::StatusOr<std::unique_ptr<Certificates>> Open(TlsFiles files, WallClock clock);

  std::shared_ptr<const TlsMaterial> current() const;

  // Reads the files again. If they cannot be used, logs and returns the error, and what the ports
  // present stays as it is. Logs as Open does. Connections that are open stay open, and no
  // handshake waits for the files.
  absl::Status Reload();
  // Reload, if a file has changed since it was last read.
  void ReloadIfChanged();

 private:
  using Stamps = std::array<FileStamp, 3>;

  Certificates(TlsFiles files, WallClock clock);
  Stamps TakeStamps() const;

  const TlsFiles files_;
  const WallClock clock_;
  mutable engine::Mutex mutex_;
  Stamps stamps_ ABSL_GUARDED_BY(mutex_) = {};
  std::shared_ptr<const TlsMaterial> current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_CERTIFICATES_H_
