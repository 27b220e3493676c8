// How long work, such as quantizing a model, reports what it does and learns that it must stop.
#ifndef WHIPSNAKE_ENGINE_BASE_PROGRESS_H_
#define WHIPSNAKE_ENGINE_BASE_PROGRESS_H_

#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::engine {

// Receives what is being done and the fraction of the whole that is done, in [0,1]. An error that
// it returns ends the work with that error, such as CANCELLED.
using WorkProgress = std::function<absl::Status(std::string_view what, double fraction)>;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_PROGRESS_H_
