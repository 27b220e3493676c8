#include "server/access/access.h"

#include "engine/base/status.h"

namespace whipsnake::server {

absl::Status Access::Check(const AccessOptions& options) {
  RETURN_IF_ERROR(AccessControl::Check(options.tokens));
  return options.tls.any() ? LoadTlsMaterial(options.tls, options.clock()).status()
                           : absl::OkStatus();
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
