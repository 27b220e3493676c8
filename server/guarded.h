// Runs the tasks of the server's threads, and catches their exceptions.
#ifndef WHIPSNAKE_SERVER_GUARDED_H_
#define WHIPSNAKE_SERVER_GUARDED_H_

#include <string_view>

#include "absl/functional/function_ref.h"

namespace whipsnake::server {

// Calls `work`. An exception, which would otherwise end the process, ends only this work and is
// logged with the name of the thread. `work` itself must report the error to callers that wait for
// it: see engine::CatchExceptions. Thread-safe.
void RunGuarded(std::string_view thread, absl::FunctionRef<void()> work) noexcept;

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_GUARDED_H_
