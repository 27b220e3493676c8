// What an operator decides about who may reach a server and who may do what, and the files of that.
#ifndef WHIPSNAKE_SERVER_ACCESS_ACCESS_H_
#define WHIPSNAKE_SERVER_ACCESS_ACCESS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/field_errors.h"
#include "server/access/access_control.h"
#include "server/access/certificates.h"

namespace whipsnake::server {

struct AccessOptions {
  std::string tokens = {};  // path of the file; empty: everyone may do everything
  TlsFiles tls = {};        // empty: nothing is encrypted
  // gRPC server reflection, which asks for no token. Default: if there are no tokens.
  std::optional<bool> reflection = std::nullopt;
  // How often the files are looked at. They are read again once they have changed.
  std::chrono::milliseconds poll_interval{60'000};
  std::function<std::chrono::system_clock::time_point()> clock = [] {
    return std::chrono::system_clock::now();
  };
};

// Returns all that is wrong with the files, each with the flag as its field and at the beginning of
// its message. Changes and logs nothing.
std::vector<engine::FieldViolation> FindAccessFaults(const AccessOptions& options);

// Thread-safe.
class Access {
 public:
  // Reads the files. Returns the error of the first that cannot be used, with its flag as the
  // field. Logs what an operator should know of them.
  static absl::StatusOr<std::unique_ptr<Access>> Open(const AccessOptions& options);

  const AccessControl& control() const { return *control_; }
  // Null: no TLS.
  const Certificates* certificates() const { return certificates_.get(); }

  // Reads all files again, or those that have changed. A file that cannot be used changes nothing
  // and is logged as an error. Open connections and calls in progress go on as they are.
  void Reload();
  void ReloadIfChanged();

 private:
  Access() = default;

  std::unique_ptr<AccessControl> control_;
  std::unique_ptr<Certificates> certificates_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_ACCESS_H_
