#include "server/disk_errors.h"

#include <array>
#include <atomic>
#include <string>
#include <vector>

#include "engine/base/disk_full.h"

namespace whipsnake::server {
namespace {

std::array<std::atomic<int64_t>, kDiskErrorKinds> g_disk_errors;

DiskErrorKind KindOf(const absl::Status& status) {
  if (engine::IsDiskFull(status)) return DiskErrorKind::kFull;
  if (absl::IsDataLoss(status)) return DiskErrorKind::kDamaged;
  return DiskErrorKind::kOther;
}

}  // namespace

std::string_view Name(DiskErrorKind kind) {
  switch (kind) {
    case DiskErrorKind::kFull:
      return "full";
    case DiskErrorKind::kDamaged:
      return "damaged";
    case DiskErrorKind::kOther:
      return "other";
  }
  return "other";
}

void LogDiskError(std::string_view message, const absl::Status& status,
                  std::initializer_list<LogField> fields) {
  ++g_disk_errors[static_cast<size_t>(KindOf(status))];
  std::vector<LogField> all = fields;
  all.emplace_back("error", std::string(status.message()));
  LogLimited(LogLevel::kError, message, std::move(all));
}

int64_t DiskErrors(DiskErrorKind kind) { return g_disk_errors[static_cast<size_t>(kind)]; }

}  // namespace whipsnake::server
