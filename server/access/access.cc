#include "server/access/access.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/access/token_table.h"

namespace whipsnake::server {

std::vector<engine::FieldViolation> FindAccessFaults(const AccessOptions& options) {
  std::vector<engine::FieldViolation> faults;
  const auto add = [&](std::string_view flag, const absl::Status& status) {
    if (status.ok()) return;
    const std::string message(status.message());
    const bool named = message.starts_with("--");
    faults.push_back(
        {.field = named ? message.substr(0, message.find(':')) : std::string(flag),
         .message = named ? message : absl::StrCat(engine::ToAbsl(flag), ": ", message)});
  };
  if (!options.tokens.empty()) add("--tokens", TokenTable::Load(options.tokens).status());
  if (options.tls.any()) add("--tls-cert", LoadTlsMaterial(options.tls, options.clock()).status());
  return faults;
}

absl::StatusOr<std::unique_ptr<Access>> Access::Open(const AccessOptions& options) {
  std::unique_ptr<Access> access(new Access);
  ASSIGN_OR_RETURN(access->control_, AccessControl::Open(options.tokens, options.clock));
  if (options.tls.any()) {
    ASSIGN_OR_RETURN(access->certificates_, Certificates::Open(options.tls, options.clock));
  }
  return access;
}

void Access::Reload() {
  control_->Reload().IgnoreError();  // it was logged
  if (certificates_ != nullptr) certificates_->Reload().IgnoreError();
}

void Access::ReloadIfChanged() {
  control_->ReloadIfChanged();
  if (certificates_ != nullptr) certificates_->ReloadIfChanged();
}

}  // namespace whipsnake::server
