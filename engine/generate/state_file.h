// The file format of saved states.
//
//   8 bytes   "WSNKST01": the format and its version
//   8 bytes   J, a little-endian u64
//   16 bytes  XXH3-128 of the J bytes that follow, for readers of the header alone
//   J bytes   JSON: model, digest, created_ms, expires_ms (since the Unix epoch), tokens (a count
//             N), position, state_bytes (B)
//   4 N bytes the tokens, little-endian i32
//   B bytes   the state, as written by State::Save
//   16 bytes  XXH3-128 of everything before
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
  std::string model;   // the model's name when the state was saved
  std::string digest;  // of the model; only a model with this digest can continue the state
  // In whole milliseconds, from 1970 to 2262.
  std::chrono::system_clock::time_point created, expires;
  int64_t tokens = 0;
  int64_t position = 0;
  int64_t state_bytes = 0;
};

struct StateFile {
  StateHeader header;
  std::vector<int32_t> tokens;
  std::vector<std::byte> state;
};

// Writes the file completely or not at all, and durably (AtomicFile). Only this user can read it.
// The header's counts must be those of `tokens` and `state`.
absl::Status WriteStateFile(const std::string& path, const StateHeader& header,
                            std::span<const int32_t> tokens, std::span<const std::byte> state);

// These return DATA_LOSS, naming the path, if the file is not a complete and unmodified state file
// or has a negative token; FAILED_PRECONDITION if it has another version; otherwise errors as from
// ReadTextFile. ReadStateHeader checks only the header and the size of the file.
absl::StatusOr<StateHeader> ReadStateHeader(const std::string& path);
absl::StatusOr<StateFile> ReadStateFile(const std::string& path);

// Parses the bytes of a file, for tests and fuzzing. Returns INVALID_ARGUMENT instead of DATA_LOSS.
absl::StatusOr<StateFile> ParseStateFile(std::span<const std::byte> bytes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_STATE_FILE_H_
