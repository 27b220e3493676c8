// Decides who calls, and what they may do.
#ifndef WHIPSNAKE_SERVER_ACCESS_ACCESS_CONTROL_H_
#define WHIPSNAKE_SERVER_ACCESS_ACCESS_CONTROL_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/access/caller.h"
#include "server/access/file_stamp.h"
#include "server/access/token_table.h"

namespace whipsnake::server {

// The tokens of a server, or none: then everyone may do everything. Thread-safe.
class AccessControl {
 public:
  using WallClock = std::function<std::chrono::system_clock::time_point()>;

  // What a request presents. Empty texts: nothing.
  struct Credentials {
    std::string_view authorization = {};     // the header or metadata of that name
    std::string_view certificate_name = {};  // the common name of a client certificate, if verified
  };

  // The result for one request. A caller who is known but lacks the scope is named.
  struct Decision {
    Caller caller;
    absl::Status status;
  };

  // INVALID_ARGUMENT, which names --tokens, if the file cannot be used (TokenTable::Load). "": OK.
  static absl::Status Check(const std::string& tokens);

  // `tokens` is the path of a file as token_table.h describes it; "" for no tokens. Returns the
  // error of Check. A file with names that everyone may read is named in the log.
  static absl::StatusOr<std::unique_ptr<AccessControl>> Open(std::string tokens, WallClock clock);

  bool has_tokens() const { return !path_.empty(); }

  // Whether a request may call `what`, a method or a path, which asks for `needed`. A token counts
  // before a certificate. UNAUTHENTICATED with the reason TOKEN_MISSING, TOKEN_MALFORMED,
  // TOKEN_UNKNOWN or TOKEN_EXPIRED; PERMISSION_DENIED with SCOPE_MISSING. Does not wait.
  Decision Decide(const Credentials& credentials, Scope needed, std::string_view what) const;

  // Reads the file again. If it cannot be used, logs and returns the error, and the tokens stay as
  // they are. Calls in progress are not affected, and none waits for the file.
  absl::Status Reload();
  // Reload, if the file has changed since it was last read.
  void ReloadIfChanged();

 private:
  AccessControl(std::string tokens, WallClock clock);

  std::shared_ptr<const TokenTable> table() const;
  // The caller with these credentials.
  absl::StatusOr<Caller> Authenticate(const Credentials& credentials) const;

  const std::string path_;
  const WallClock clock_;
  mutable engine::Mutex mutex_;
  FileStamp stamp_ ABSL_GUARDED_BY(mutex_) = {};
  std::shared_ptr<const TokenTable> table_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_ACCESS_CONTROL_H_
