// Failures of the server's own files: each is logged at error level and counted.
#ifndef WHIPSNAKE_SERVER_DISK_ERRORS_H_
#define WHIPSNAKE_SERVER_DISK_ERRORS_H_

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "absl/status/status.h"
#include "server/logging.h"

namespace whipsnake::server {

enum class DiskErrorKind { kFull, kDamaged, kOther };
inline constexpr int kDiskErrorKinds = 3;
std::string_view Name(DiskErrorKind kind);  // "full", "damaged", "other"

// Logs as LogLimited does, with the status's message as the field "error", and counts the failure:
// a DiskFullError as full, DATA_LOSS as damaged, anything else as other. Thread-safe.
void LogDiskError(std::string_view message, const absl::Status& status,
                  std::initializer_list<LogField> fields = {});

// How many the process has counted. Lock-free.
int64_t DiskErrors(DiskErrorKind kind);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DISK_ERRORS_H_
