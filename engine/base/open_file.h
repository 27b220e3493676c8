// Reads a file that is open, so that what was checked and what is read are the same file.
#ifndef WHIPSNAKE_ENGINE_BASE_OPEN_FILE_H_
#define WHIPSNAKE_ENGINE_BASE_OPEN_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/files.h"

namespace whipsnake::engine {

// As ReadTextFile, from the descriptor's offset on. `path` is for the errors.
absl::StatusOr<std::string> ReadText(const Descriptor& file, const std::string& path,
                                     int64_t max_bytes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_OPEN_FILE_H_
