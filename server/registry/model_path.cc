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

// `path` with symbolic links followed and ".." resolved, as far as it exists, and no slash at its
// end. weakly_canonical follows no link that comes after "absent/..": done twice, it does, for
// then there is no ".." left.
fs::path Resolved(const fs::path& path, std::error_code& error) {
  fs::path real = fs::weakly_canonical(path, error);
  if (!error) real = fs::weakly_canonical(real, error);
  return real.has_filename() ? real : real.parent_path();
}

// Where `path` leads from the root: below it, but to nothing yet, perhaps. `what` it should be.
absl::StatusOr<fs::path> ResolveBelow(const std::string& root, std::string_view path,
                                      std::string_view field, const std::string& what) {
  if (root.empty()) {
    return WithReason(absl::FailedPreconditionError(
                          "this server has no model root: start it with --model-root DIR"),
                      "NO_MODEL_ROOT");
  }
  const absl::Status escapes = engine::InvalidField(field, engine::Quoted(path),
                                                    what + " below the model root, relative to it");
  // A NUL would end the path for the system, but not for us.
  if (path.empty() || path.find('\0') != std::string_view::npos) return escapes;
  const fs::path relative(path);
  if (relative.is_absolute()) return escapes;

  std::error_code error;
  const fs::path real_root = fs::canonical(root, error);
  if (error) return absl::NotFoundError("model root " + root + ": " + error.message());
  // Escapes are refused before existence is looked at, so that it is not told.
  const fs::path real = Resolved(real_root / relative, error);
  if (error || !LiesBelow(real_root, real)) return escapes;
  return real;
}

absl::Status NothingThere(std::string_view field, const std::string& what, std::string_view path) {
  return WithResource(
      absl::NotFoundError(absl::StrCat(engine::ToAbsl(field), ": no ", what, " ",
                                       engine::Quoted(path), " below the model root")),
      "model " + what, path);
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
  ASSIGN_OR_RETURN(const fs::path real, ResolveBelow(root, path, "path", "a directory"));
  std::error_code error;
  if (!fs::is_directory(real, error)) return NothingThere("path", "directory", path);
  return real.string();
}

absl::StatusOr<std::string> ResolveFile(const std::string& root, std::string_view path,
                                        std::string_view field) {
  ASSIGN_OR_RETURN(const fs::path real, ResolveBelow(root, path, field, "a file"));
  std::error_code error;
  if (!fs::is_regular_file(real, error)) return NothingThere(field, "file", path);
  return real.string();
}

absl::StatusOr<std::string> ResolveNewDirectory(const std::string& root, std::string_view path,
                                                std::string_view field) {
  ASSIGN_OR_RETURN(const fs::path real, ResolveBelow(root, path, field, "a new directory"));
  std::error_code error;
  if (fs::exists(fs::symlink_status(real, error))) {
    return WithResource(WithReason(absl::AlreadyExistsError(absl::StrCat(
                                       engine::ToAbsl(field), ": ", engine::Quoted(path),
                                       " exists below the model root, expected nothing there")),
                                   "OUTPUT_EXISTS"),
                        "model directory", path);
  }
  if (!fs::is_directory(real.parent_path(), error)) {
    return NothingThere(field, "directory", fs::path(path).parent_path().string());
  }
  return real.string();
}

}  // namespace whipsnake::server
