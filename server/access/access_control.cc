#include "server/access/access_control.h"

#include <sys/stat.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "server/access/flag_error.h"
#include "server/access/token.h"
#include "server/errors.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

absl::Status Unauthenticated(std::string_view reason, std::string_view text) {
  return WithReason(absl::UnauthenticatedError(engine::ToAbsl(text)), reason);
}

absl::Status MissingScope(const Caller& caller, Scope needed, std::string_view what) {
  const std::string has = caller.scopes.ToString();
  return WithReason(
      absl::PermissionDeniedError(absl::StrCat(
          engine::ToAbsl(what), " asks for the scope ", engine::ToAbsl(Name(needed)), ", which ",
          engine::Quoted(caller.name), " lacks (it has ", has.empty() ? "none" : has,
          "); whoever runs the server can give a token with that scope")),
      "SCOPE_MISSING", {{"scope", std::string(Name(needed))}, {"caller", caller.name}});
}

void WarnOfNameReaders(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0 || (info.st_mode & S_IROTH) == 0) return;
  Log(LogLevel::kWarning, "everyone on this machine may read the names of the tokens",
      {{"file", path}, {"remedy", "chmod o-r"}});
}

}  // namespace

AccessControl::AccessControl(std::string tokens, WallClock clock)
    : path_(std::move(tokens)), clock_(std::move(clock)) {}

absl::Status AccessControl::Check(const std::string& tokens) {
  if (tokens.empty()) return absl::OkStatus();
  return FlagError("--tokens", TokenTable::Load(tokens).status());
}

absl::StatusOr<std::unique_ptr<AccessControl>> AccessControl::Open(std::string tokens,
                                                                   WallClock clock) {
  std::unique_ptr<AccessControl> control(new AccessControl(std::move(tokens), std::move(clock)));
  if (!control->has_tokens()) return control;
  const FileStamp stamp = StampOf(control->path_);
  absl::StatusOr<TokenTable> table = TokenTable::Load(control->path_);
  if (!table.ok()) return FlagError("--tokens", table.status());
  WarnOfNameReaders(control->path_);
  engine::MutexLock lock(control->mutex_);
  control->stamp_ = stamp;
  control->table_ = std::make_shared<TokenTable>(*std::move(table));
  return control;
}

absl::Status AccessControl::Reload() {
  if (!has_tokens()) return absl::OkStatus();
  const FileStamp stamp = StampOf(path_);  // before reading: a later change is noticed
  absl::StatusOr<TokenTable> table = TokenTable::Load(path_);
  const absl::Status status = table.status();
  std::shared_ptr<const TokenTable>
      read;  // and then the one before, which is freed without the lock
  if (status.ok()) read = std::make_shared<TokenTable>(*std::move(table));
  const auto size = static_cast<int64_t>(status.ok() ? read->size() : 0);
  {
    engine::MutexLock lock(mutex_);
    stamp_ = stamp;
    if (status.ok()) table_.swap(read);
  }
  if (!status.ok()) {
    Log(LogLevel::kError, "the file of tokens cannot be used; the tokens stay as they were",
        {{"error", std::string(status.message())}});
    return status;
  }
  Log(LogLevel::kInfo, "the tokens were read again", {{"tokens", size}});
  WarnOfNameReaders(path_);
  return absl::OkStatus();
}

void AccessControl::ReloadIfChanged() {
  if (!has_tokens()) return;
  const FileStamp stamp = StampOf(path_);
  {
    engine::MutexLock lock(mutex_);
    if (stamp == stamp_) return;
  }
  Reload().IgnoreError();  // it was logged
}

std::shared_ptr<const TokenTable> AccessControl::table() const {
  engine::MutexLock lock(mutex_);
  return table_;
}

absl::StatusOr<Caller> AccessControl::Authenticate(const Credentials& credentials) const {
  const std::shared_ptr<const TokenTable> known = table();
  const TokenRecord* record = nullptr;
  if (!credentials.authorization.empty()) {
    const std::optional<std::string_view> token = BearerToken(credentials.authorization);
    if (!token) {
      return Unauthenticated("TOKEN_MALFORMED",
                             "authorization: this is not 'Bearer wsn_...' with a whole token");
    }
    record = known->FindToken(*token);
    if (record == nullptr) {
      return Unauthenticated("TOKEN_UNKNOWN",
                             "the server does not know the token, or knows it no longer; whoever "
                             "runs the server can give another one");
    }
  } else if (!credentials.certificate_name.empty()) {
    record = known->FindCertificate(credentials.certificate_name);
  }
  if (record == nullptr) {
    return Unauthenticated("TOKEN_MISSING",
                           "the server wants a token: send the metadata or header 'authorization' "
                           "with 'Bearer wsn_...'");
  }
  if (record->expires && clock_() >= *record->expires) {
    const std::string when = absl::FormatTime(absl::RFC3339_sec, absl::FromChrono(*record->expires),
                                              absl::UTCTimeZone());
    return Unauthenticated("TOKEN_EXPIRED",
                           absl::StrCat(engine::Quoted(record->name), " expired at ", when,
                                        "; whoever runs the server can give another token"));
  }
  return record->caller();
}

AccessControl::Decision AccessControl::Decide(const Credentials& credentials, Scope needed,
                                              std::string_view what) const {
  if (!has_tokens()) return {.caller = Caller::Everyone(), .status = absl::OkStatus()};
  absl::StatusOr<Caller> caller = Authenticate(credentials);
  if (!caller.ok()) {
    return {.caller = {}, .status = needed == Scope::kOpen ? absl::OkStatus() : caller.status()};
  }
  absl::Status status =
      caller->scopes.Allows(needed) ? absl::OkStatus() : MissingScope(*caller, needed, what);
  return {.caller = *std::move(caller), .status = std::move(status)};
}

}  // namespace whipsnake::server
