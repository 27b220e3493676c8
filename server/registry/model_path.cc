#include "server/registry/model_path.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "engine/base/atomic_file.h"
#include "engine/base/status.h"
#include "engine/checkpoint/hub_cache.h"
#include "server/client_names.h"
#include "server/errors.h"
#include "server/registry/model_name.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;

// What allows a directory that clients may not name.
constexpr const char* kOperatorMay =
    "serve it with --model NAME=DIR, or widen --model-root to a directory that has all of it";

bool LiesBelow(const fs::path& root, const fs::path& path) {
  const auto [end, unused] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end() && path != root;
}

// Returns `path` with symbolic links followed and ".." resolved, as far as it exists, and without a
// trailing slash. weakly_canonical does not follow links after "absent/.."; a second call does,
// because no ".." is left.
fs::path Resolved(const fs::path& path, std::error_code& error) {
  fs::path real = fs::weakly_canonical(path, error);
  if (!error) real = fs::weakly_canonical(real, error);
  return real.has_filename() ? real : real.parent_path();
}

// Resolves `path` relative to the root. The result is below the root but need not exist. `what`
// says in errors what is expected.
absl::StatusOr<fs::path> ResolveBelow(const std::string& root, std::string_view path,
                                      std::string_view field, const std::string& what) {
  if (root.empty()) {
    return WithReason(absl::FailedPreconditionError(
                          "this server has no model root: start it with --model-root DIR"),
                      "NO_MODEL_ROOT");
  }
  const absl::Status escapes = engine::InvalidField(
      field, engine::Quoted(path),
      what + " below the model root, relative to it, with all links followed (the operator may " +
          kOperatorMay + ")");
  // The system would end the path at a NUL, but this code would not.
  if (path.empty() || path.find('\0') != std::string_view::npos) return escapes;
  const fs::path relative(path);
  if (relative.is_absolute()) return escapes;

  std::error_code error;
  const fs::path real_root = fs::canonical(root, error);
  if (error) {
    return StorageError(engine::FileError(error.value(), root), "the model root cannot be read");
  }
  // Refuse escaping paths before checking existence, so as not to reveal it.
  const fs::path real = Resolved(real_root / relative, error);
  if (error || !LiesBelow(real_root, real)) return escapes;
  return real;
}

// Returns the target of a symbolic link, even if it does not exist.
fs::path TargetOf(fs::path link, std::error_code& error) {
  constexpr int kMaxLinks = 40;  // as in Linux
  for (int i = 0; !error && fs::is_symlink(fs::symlink_status(link, error)); ++i) {
    if (i == kMaxLinks) error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
    if (error) break;
    link = Resolved(link.parent_path() / fs::read_symlink(link, error), error);
  }
  if (error == std::errc::no_such_file_or_directory) error.clear();
  return link;
}

// Returns the name of an entry that is a link out of the root, or "". The entries of a snapshot in
// a hub's cache are links to the files of their model.
std::string EscapingEntry(const fs::path& root, const fs::path& directory) {
  std::error_code error;
  const fs::path hub = engine::HubModelOf(directory.string());
  auto entry = fs::directory_iterator(directory, error);
  // A range-for would throw if the directory cannot be read to its end.
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code unreadable;
    if (!entry->is_symlink(unreadable)) continue;
    const fs::path real = TargetOf(entry->path(), unreadable);
    const bool inside = LiesBelow(root, real) || (!hub.empty() && LiesBelow(hub, real));
    if (unreadable || !inside) return entry->path().filename().string();
  }
  return "";
}

// Returns whether a directory below the root, or one of its parents below the root, is a model
// directory.
bool LiesInModel(const fs::path& root, fs::path directory) {
  std::error_code error;
  for (; LiesBelow(root, directory); directory = directory.parent_path()) {
    if (fs::exists(directory / "config.json", error)) return true;
  }
  return false;
}

absl::Status CheckNewName(const std::string& name, std::string_view path, std::string_view field) {
  constexpr size_t kLongestName = 200;  // leaves room for a temporary name within 255 bytes
  const bool control =
      std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (!control && name.front() != '-' && name.size() <= kLongestName &&
      !engine::IsTemporaryName(name)) {
    return absl::OkStatus();
  }
  return engine::InvalidField(field, engine::Quoted(path),
                              absl::StrCat("a name of at most ", kLongestName,
                                           " bytes without control characters, that begins with no "
                                           "dash and does not end "
                                           "like a temporary one"));
}

// Returns the snapshot of a model of a hub's cache, or any other directory itself.
absl::StatusOr<fs::path> SnapshotBelow(const fs::path& root, const fs::path& directory,
                                       std::string_view path, std::string_view field) {
  const auto snapshot = engine::HubSnapshot(directory.string());
  std::error_code error;
  const fs::path real = snapshot.ok() ? Resolved(*snapshot, error) : fs::path();
  if (!error && LiesBelow(root, real)) return real;
  return engine::InvalidField(field, engine::Quoted(path),
                              "a model of a hub's cache with one snapshot, or with refs/main that "
                              "names one of them");
}

absl::Status NothingThere(std::string_view field, const std::string& what, std::string_view path) {
  return WithResource(
      absl::NotFoundError(absl::StrCat(engine::ToAbsl(field), ": no ", what, " ",
                                       engine::Quoted(path), " below the model root")),
      "model " + what, path);
}

}  // namespace

absl::StatusOr<std::string> ResolveModelPath(const std::string& root, std::string_view path,
                                             std::string_view field) {
  ASSIGN_OR_RETURN(fs::path real, ResolveBelow(root, path, field, "a directory"));
  std::error_code error;
  if (!fs::is_directory(real, error) && CheckModelName(path).ok()) {
    ASSIGN_OR_RETURN(real, ResolveBelow(root, engine::HubFolder(path), field, "a directory"));
  }
  if (!fs::is_directory(real, error)) return NothingThere(field, "directory", path);
  const fs::path real_root = fs::canonical(root, error);
  ASSIGN_OR_RETURN(real, SnapshotBelow(real_root, real, path, field));
  const std::string entry = EscapingEntry(real_root, real);
  if (entry.empty()) return real.string();
  return engine::InvalidField(
      field,
      absl::StrCat("the link ", engine::Quoted(entry), " in it, which leaves the model root"),
      absl::StrCat("links that stay below it (the operator may ", kOperatorMay, ")"));
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
    return NothingThere(field, "directory", engine::ParentOf(std::string(path)));
  }
  if (LiesInModel(fs::canonical(root, error), real.parent_path())) {
    return engine::InvalidField(field, engine::Quoted(path),
                                "a place that is not inside a model's directory");
  }
  RETURN_IF_ERROR(CheckNewName(real.filename().string(), path, field));
  return real.string();
}

absl::StatusOr<OpenDirectory> OpenDirectory::Open(const std::string& root,
                                                  const std::string& real_path,
                                                  std::string_view field) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  std::error_code error;
  const fs::path real_root = fs::canonical(root, error);
  // Open component by component: with the whole path, the system would follow links.
  engine::Descriptor directory(open(real_root.c_str(), kFlags));
  for (const fs::path& part : fs::path(real_path).lexically_relative(real_root)) {
    if (part == ".") continue;
    directory = engine::Descriptor(
        part == ".." ? -1 : openat(directory.get(), part.c_str(), kFlags | O_NOFOLLOW));
  }
  if (directory.get() >= 0) return OpenDirectory(std::move(directory));
  return engine::InvalidField(field, "a directory that was replaced in the meantime",
                              "one that stays where it is");
}

std::string OpenDirectory::path() const {
  return absl::StrCat("/proc/self/fd/", descriptor_.get());
}

}  // namespace whipsnake::server
