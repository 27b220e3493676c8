// Text that a command reads: a file, or its standard input.
#ifndef WHIPSNAKE_SERVER_CLI_INPUT_H_
#define WHIPSNAKE_SERVER_CLI_INPUT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::server {

// Returns a whole file or, for "-", standard input up to its end. INVALID_ARGUMENT for more than
// `max_bytes`, and if standard input is read a second time, because it is empty then. UNAVAILABLE
// if standard input cannot be read; other errors as from engine::ReadTextFile.
absl::StatusOr<std::string> ReadInput(const std::string& path,
                                      int64_t max_bytes = int64_t{64} << 20);

// Returns what a request takes as its text: `text`, or standard input for "-". INVALID_ARGUMENT as
// from CheckRequestText, and errors as from ReadInput.
absl::StatusOr<std::string> TextOrInput(const std::string& text);

// Returns INVALID_ARGUMENT, with `place` for the text, if no request can have it: it is not UTF-8,
// or larger than a request may be.
absl::Status CheckRequestText(std::string_view place, std::string_view text);

// Reads standard input line by line. Not thread-safe.
class LineReader {
 public:
  explicit LineReader(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Returns the next line without its "\n" or "\r\n", or nothing at the end. INVALID_ARGUMENT for a
  // line of more bytes than the maximum, after which the next call returns the line that follows;
  // UNAVAILABLE if standard input cannot be read.
  absl::StatusOr<std::optional<std::string>> Next();

 private:
  // Adds to `unread_`. Returns false at the end of the input.
  absl::StatusOr<bool> ReadMore();

  const int64_t max_bytes_;
  std::string unread_;
};

// Opens those of the standard streams that are closed, so that using them is an error and no file
// or socket that the program opens takes their place. Call it first of all.
void ReserveStandardStreams();

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_INPUT_H_
