// The errors of the files that flags name.
#ifndef WHIPSNAKE_SERVER_ACCESS_FLAG_ERROR_H_
#define WHIPSNAKE_SERVER_ACCESS_FLAG_ERROR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/field_errors.h"
#include "engine/base/status.h"

namespace whipsnake::server {

// Returns INVALID_ARGUMENT with the flag as its field, and "FLAG: " before the message. OK is
// returned unchanged.
inline absl::Status FlagError(std::string_view flag, const absl::Status& status) {
  if (status.ok()) return status;
  return engine::InvalidFields(
      {{.field = std::string(flag),
        .message = absl::StrCat(engine::ToAbsl(flag), ": ", status.message())}});
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_FLAG_ERROR_H_
