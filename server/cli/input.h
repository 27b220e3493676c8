// Text that a command reads: a file, or its standard input.
#ifndef WHIPSNAKE_SERVER_CLI_INPUT_H_
#define WHIPSNAKE_SERVER_CLI_INPUT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace whipsnake::server {

// Returns a whole file or, for "-", standard input up to its end. INVALID_ARGUMENT for more than
// `max_bytes`, and if standard input is read a second time, because it is empty then; other errors
// as from engine::ReadTextFile.
absl::StatusOr<std::string> ReadInput(const std::string& path,
                                      int64_t max_bytes = int64_t{64} << 20);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_INPUT_H_
