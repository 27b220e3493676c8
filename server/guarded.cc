#include "server/guarded.h"

#include <string>

#include "engine/base/exceptions.h"
#include "server/logging.h"

namespace whipsnake::server {

void RunGuarded(std::string_view thread, absl::FunctionRef<void()> work) noexcept {
  const absl::Status status = engine::CatchExceptions(work);
  if (status.ok()) return;
  const auto log = [&] {
    LogLimited(LogLevel::kError, "a task ended early",
               {{"thread", std::string(thread)}, {"error", std::string(status.message())}});
  };
  engine::CatchExceptions(log).IgnoreError();  // logging can fail for lack of memory
}

}  // namespace whipsnake::server
