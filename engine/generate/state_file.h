// A saved state as a file.
//
//   8 bytes   "WSNKST01": the format and its version
//   8 bytes   J, a little-endian u64
//   16 bytes  XXH3-128 of the J bytes that follow, for who reads no further
//   J bytes   JSON: model, digest, created_ms, expires_ms (of the Unix epoch), tokens (a count N),
//             position, state_bytes (B)
//   4 N bytes the tokens, little-endian i32
//   B bytes   the state, as State::Save wrote it
//   16 bytes  XXH3-128 of all before
#ifndef WHIPSNAKE_ENGINE_GENERATE_STATE_FILE_H_
#define WHIPSNAKE_ENGINE_GENERATE_STATE_FILE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

struct StateHeader {
  std::string model;   // the name it had
  std::string digest;  // of what may continue it
  std::chrono::system_clock::time_point created,
      expires;  // whole milliseconds, from 1970 to 2262
  int64_t tokens = 0;
  int64_t position = 0;
  int64_t state_bytes = 0;
};

struct StateFile {
  StateHeader header;
  std::vector<int32_t> tokens;
  std::vector<std::byte> state;
};

// Whole or not at all, and durably (AtomicFile), readable by this user alone. The header's counts
// are those of tokens and state.
absl::Status WriteStateFile(const std::string& path, const StateHeader& header,
                            std::span<const int32_t> tokens, std::span<const std::byte> state);

// DATA_LOSS, naming the path, for what is not a whole state file as it was written, or has a
// negative token; FAILED_PRECONDITION for one of another version; otherwise errors as from
// ReadTextFile. Reading the header alone leaves the rest of the file unchecked, but for its size.
absl::StatusOr<StateHeader> ReadStateHeader(const std::string& path);
absl::StatusOr<StateFile> ReadStateFile(const std::string& path);

// The same of bytes, for tests and fuzzing.
absl::StatusOr<StateFile> ParseStateFile(std::span<const std::byte> bytes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_STATE_FILE_H_
