#include "server/cli/input.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "server/request_size.h"

namespace whipsnake::server {
namespace {

// Appends a piece of standard input. Returns false at its end. std::cin takes an error for the end.
absl::StatusOr<bool> AppendStandardInput(std::string& text) {
  constexpr size_t kPiece = 1 << 16;
  const size_t size = text.size();
  text.resize(size + kPiece);
  ssize_t count = 0;
  do {
    count = read(STDIN_FILENO, text.data() + size, kPiece);
  } while (count < 0 && errno == EINTR);
  text.resize(size + static_cast<size_t>(count < 0 ? 0 : count));
  if (count >= 0) return count > 0;
  return absl::UnavailableError(absl::StrCat("stdin cannot be read: ", std::strerror(errno)));
}

absl::Status TooLong(std::string_view place, int64_t max_bytes) {
  return absl::InvalidArgumentError(absl::StrCat(engine::ToAbsl(place), ": more than ", max_bytes,
                                                 " bytes seen, expected at most that"));
}

absl::StatusOr<std::string> ReadStandardInput(int64_t max_bytes) {
  static bool read_before = false;
  if (std::exchange(read_before, true)) {
    return absl::InvalidArgumentError("'-' seen twice, expected one option that reads stdin");
  }
  std::string text;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, AppendStandardInput(text));
    if (!more) return text;
    if (std::ssize(text) > max_bytes) return TooLong("stdin", max_bytes);
  }
}

}  // namespace

absl::StatusOr<std::string> ReadInput(const std::string& path, int64_t max_bytes) {
  return path == "-" ? ReadStandardInput(max_bytes) : engine::ReadTextFile(path, max_bytes);
}

absl::Status CheckRequestText(std::string_view place, std::string_view text) {
  if (std::ssize(text) > kMaxRequestBytes) return TooLong(place, kMaxRequestBytes);
  const size_t invalid = engine::FindInvalidUtf8(text);
  if (invalid == text.npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(engine::ToAbsl(place),
                                                 ": a byte that is not UTF-8 seen at byte ",
                                                 invalid + 1, ", expected UTF-8"));
}

absl::StatusOr<std::string> TextOrInput(const std::string& text) {
  if (text != "-") {
    RETURN_IF_ERROR(CheckRequestText("the text", text));
    return text;
  }
  ASSIGN_OR_RETURN(std::string input, ReadInput("-", kMaxRequestBytes));
  RETURN_IF_ERROR(CheckRequestText("stdin", input));
  return input;
}

absl::StatusOr<bool> LineReader::ReadMore() { return AppendStandardInput(unread_); }

absl::StatusOr<std::optional<std::string>> LineReader::Next() {
  bool too_long = false, more = true;
  size_t searched = 0, end = unread_.find('\n');
  while (end == unread_.npos && more) {
    too_long |= std::ssize(unread_) > max_bytes_;
    if (too_long) unread_.clear();
    searched = unread_.size();
    ASSIGN_OR_RETURN(more, ReadMore());
    end = unread_.find('\n', searched);
  }
  if (end == unread_.npos && unread_.empty() && !too_long) return std::nullopt;
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end == unread_.npos ? end : end + 1);
  if (too_long || std::ssize(line) > max_bytes_) return TooLong("a line of stdin", max_bytes_);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

void ReserveStandardStreams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest number is free, and the wrong way makes each use an error.
    const int opened = open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (opened > STDERR_FILENO) close(opened);
  }
}

}  // namespace whipsnake::server
