// Converts exceptions to absl::Status. Our own code throws none, but the libraries that it uses do,
// mostly when memory runs out, and an exception that escapes a thread's function terminates the
// process.
#ifndef WHIPSNAKE_ENGINE_BASE_EXCEPTIONS_H_
#define WHIPSNAKE_ENGINE_BASE_EXCEPTIONS_H_

#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Returns the status for the exception being handled: RESOURCE_EXHAUSTED if the system has no
// memory or no threads left, otherwise INTERNAL. The message is the exception's text; it is empty
// if there is no memory for it or if the exception is not a std::exception.
absl::Status StatusOfException() noexcept;

// Calls `work` and returns its result, a Status or a StatusOr, or OK if it returns void. If it
// throws, returns StatusOfException().
template <typename Work>
auto CatchExceptions(const Work& work) {
  using Returned = std::invoke_result_t<const Work&>;
  using Result = std::conditional_t<std::is_void_v<Returned>, absl::Status, Returned>;
  try {
    if constexpr (std::is_void_v<Returned>) {
      work();
      return absl::OkStatus();
    } else {
      return Result(work());
    }
  } catch (...) {
    return Result(StatusOfException());
  }
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_EXCEPTIONS_H_
