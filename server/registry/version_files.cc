#include "server/registry/version_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <random>
#include <string_view>
#include <system_error>

#include "absl/strings/str_format.h"
#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "version-";
constexpr size_t kDigits = 32;

absl::Status SyncFile(const std::string& path) {
  ASSIGN_OR_RETURN(const engine::Descriptor file, engine::OpenRegularFile(path));
  return fsync(file.get()) == 0 ? absl::OkStatus() : engine::FileError(errno, path);
}

absl::Status LinkFile(const std::string& source, const std::string& target) {
  if (linkat(AT_FDCWD, source.c_str(), AT_FDCWD, target.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    std::error_code error;
    fs::copy_file(source, target, error);
    if (error) return engine::FileError(error.value(), source);
  }
  return SyncFile(target);
}

}  // namespace

std::string NewVersionDirectory() {
  std::random_device random;
  std::string name(kPrefix);
  while (name.size() < kPrefix.size() + kDigits) absl::StrAppendFormat(&name, "%08x", random());
  return name;
}

bool IsVersionDirectory(std::string_view name) {
  if (!name.starts_with(kPrefix)) return false;
  const std::string_view digits = name.substr(kPrefix.size());
  return digits.size() == kDigits && digits.find_first_not_of("0123456789abcdef") == digits.npos;
}

absl::Status LinkFiles(const std::string& source, const std::string& target) {
  std::error_code error;
  fs::directory_iterator entry(source, error);
  if (error) return engine::FileError(error.value(), source);
  ASSIGN_OR_RETURN(engine::AtomicDirectory directory, engine::AtomicDirectory::Create(target));
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code unreadable;
    if (!entry->is_regular_file(unreadable)) continue;
    RETURN_IF_ERROR(LinkFile(entry->path().string(),
                             directory.path() + "/" + entry->path().filename().string()));
  }
  if (error) return engine::FileError(error.value(), source);
  // One that was removed meanwhile has perhaps shown only a part of its files.
  if (!fs::exists(source, error)) return engine::FileError(ENOENT, source);
  return directory.Commit();
}

std::vector<std::string> RemoveOtherVersions(const std::string& directory,
                                             const std::set<std::string>& kept) {
  std::vector<std::string> others;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (IsVersionDirectory(name) && !kept.contains(name)) others.push_back(name);
  }
  for (const std::string& name : others) fs::remove_all(fs::path(directory) / name, error);
  return others;
}

}  // namespace whipsnake::server
