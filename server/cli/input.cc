#include "server/cli/input.h"

#include <iostream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/files.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<std::string> ReadStandardInput(int64_t max_bytes) {
  static bool read = false;
  if (std::exchange(read, true)) {
    return absl::InvalidArgumentError("'-' seen twice, expected one option that reads stdin");
  }
  constexpr std::streamsize kPiece = 1 << 16;
  std::string text;
  while (std::cin) {
    const size_t size = text.size();
    text.resize(size + kPiece);
    std::cin.read(text.data() + size, kPiece);
    text.resize(size + static_cast<size_t>(std::cin.gcount()));
    if (std::ssize(text) > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("stdin: more than ", max_bytes, " bytes seen, expected at most that"));
    }
  }
  if (std::cin.bad()) return absl::UnavailableError("stdin cannot be read");
  return text;
}

}  // namespace

absl::StatusOr<std::string> ReadInput(const std::string& path, int64_t max_bytes) {
  return path == "-" ? ReadStandardInput(max_bytes) : engine::ReadTextFile(path, max_bytes);
}

}  // namespace whipsnake::server
