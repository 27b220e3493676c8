#include "engine/base/exceptions.h"

#include <exception>
#include <new>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {
namespace {

absl::Status Describe() {
  try {
    throw;
  } catch (const std::bad_alloc& error) {
    return absl::ResourceExhaustedError(absl::StrCat("out of memory: ", error.what()));
  } catch (const std::system_error& error) {
    const bool shortage = error.code() == std::errc::resource_unavailable_try_again;
    return shortage ? absl::ResourceExhaustedError(error.what())
                    : absl::InternalError(error.what());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace

absl::Status StatusOfException() noexcept {
  try {
    return Describe();
  } catch (const std::bad_alloc&) {  // no memory for the message: return only the code
    return absl::Status(absl::StatusCode::kResourceExhausted, "");
  } catch (...) {  // not a std::exception
    return absl::Status(absl::StatusCode::kInternal, "");
  }
}

}  // namespace whipsnake::engine
