// How long work, such as a quantization, reports its progress and is stopped.
#ifndef WHIPSNAKE_ENGINE_BASE_PROGRESS_H_
#define WHIPSNAKE_ENGINE_BASE_PROGRESS_H_

#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::engine {

// Receives the current stage and the fraction of the whole that is done, in [0,1]. An error that it
// returns, such as CANCELLED, ends the work with that error.
using WorkProgress = std::function<absl::Status(std::string_view what, double fraction)>;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_PROGRESS_H_
