// Where exceptions end. Our own code throws none, but the libraries below it do, mostly where there
// is no memory, and one that leaves a thread's function ends the process.
#ifndef WHIPSNAKE_ENGINE_BASE_EXCEPTIONS_H_
#define WHIPSNAKE_ENGINE_BASE_EXCEPTIONS_H_

#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Of the exception that is being handled: RESOURCE_EXHAUSTED where the system has no memory or no
// threads, otherwise INTERNAL, with its text where there is memory for that.
absl::Status StatusOfException() noexcept;

// Calls `work` and returns what it returns, a Status or a StatusOr, or OK where it returns nothing;
// where it throws, StatusOfException().
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
