#include "server/rpc/grpc_log.h"

#include <grpc/support/log.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/utf8.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

constexpr int kMaxDetailBytes = 512;

void LogLine(gpr_log_func_args* line) {
  const LogLevel level = line->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kWarning
                         : line->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                   : LogLevel::kDebug;
  const std::string file(line->file);
  LogLimited(level, "grpc",
             {{"detail", engine::BoundedUtf8(line->message, kMaxDetailBytes)},
              {"source", absl::StrCat(file.substr(file.rfind('/') + 1), ":", line->line)}});
}

}  // namespace

void SendGrpcLogToOurs() { gpr_set_log_function(&LogLine); }

}  // namespace whipsnake::server
