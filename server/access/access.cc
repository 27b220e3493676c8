#include "server/access/access.h"

#include <utility>

#include "engine/base/status.h"

namespace whipsnake::server {

std::vector<engine::FieldViolation> FindAccessFaults(const AccessOptions& options) {
  std::vector<engine::FieldViolation> faults =
      engine::ViolationsOf(AccessControl::Check(options.tokens));
  if (!options.tls.any()) return faults;
  const absl::Status tls = LoadTlsMaterial(options.tls, options.clock()).status();
  for (engine::FieldViolation& fault : engine::ViolationsOf(tls))
    faults.push_back(std::move(fault));
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
