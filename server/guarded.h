// What the loops of the server's threads run their tasks in.
#ifndef WHIPSNAKE_SERVER_GUARDED_H_
#define WHIPSNAKE_SERVER_GUARDED_H_

#include <string_view>

#include "absl/functional/function_ref.h"

namespace whipsnake::server {

// Calls `work`. An exception, which would end the process, ends this work alone and is a line of
// the log, with the name of the thread. Whoever waits for the work is told within it: see
// engine::CatchExceptions.
void RunGuarded(std::string_view thread, absl::FunctionRef<void()> work) noexcept;

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_GUARDED_H_
