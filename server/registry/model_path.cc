#include "server/registry/model_path.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "engine/base/status.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameLength = 63;

bool IsLetterOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool LiesBelow(const fs::path& root, const fs::path& path) {
  const auto [end, unused] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end() && path != root;
}

}  // namespace

absl::Status CheckModelName(std::string_view name) {
  const bool valid =
      !name.empty() && name.size() <= kMaxNameLength && IsLetterOrDigit(name.front()) &&
      std::all_of(name.begin(), name.end(),
                  [](char c) { return IsLetterOrDigit(c) || c == '-' || c == '_' || c == '.'; });
  if (valid) return absl::OkStatus();
  return engine::InvalidField(
      "name", engine::Quoted(name),
      "1 to 63 of a-z, 0-9, '-', '_', '.', beginning with a letter or digit");
}

absl::StatusOr<std::string> ResolveModelPath(const std::string& root, std::string_view path) {
  if (root.empty()) {
    return WithReason(absl::FailedPreconditionError(
                          "this server has no model root: start it with --model-root DIR"),
                      "NO_MODEL_ROOT");
  }
  const absl::Status escapes = engine::InvalidField(
      "path", engine::Quoted(path), "a directory below the model root, relative to it");
  // A NUL would end the path for the system, but not for us.
  if (path.empty() || path.find('\0') != std::string_view::npos) return escapes;
  const fs::path relative(path);
  if (relative.is_absolute()) return escapes;

  std::error_code error;
  const fs::path real_root = fs::canonical(root, error);
  if (error) return absl::NotFoundError("model root " + root + ": " + error.message());
  // Symbolic links are followed and ".." resolved as far as the path exists; what does not exist
  // cannot be a link. Escapes are refused before existence is looked at, so that it is not told.
  const fs::path real = fs::weakly_canonical(real_root / relative, error);
  if (error || !LiesBelow(real_root, real)) return escapes;
  if (!fs::is_directory(real, error)) {
    return WithResource(absl::NotFoundError(absl::StrCat(
                            "path: no directory ", engine::Quoted(path), " below the model root")),
                        "model directory", path);
  }
  return real.string();
}

}  // namespace whipsnake::server
