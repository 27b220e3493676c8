#include "engine/checkpoint/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "engine/base/files.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "models--";
constexpr const char* kSnapshots = "snapshots";

bool IsHubFolder(const fs::path& path) { return path.filename().string().starts_with(kPrefix); }

// Returns the snapshot's name that refs/main has, or "".
std::string ReadMain(const fs::path& model) {
  constexpr int64_t kMaxBytes = 256;
  const auto text = ReadTextFile((model / "refs/main").string(), kMaxBytes);
  if (!text.ok()) return "";
  const absl::string_view name = absl::StripSuffix(*text, "\n");
  const bool plain =
      name.find_first_of(absl::string_view("/\0", 2)) == name.npos && name != "." && name != "..";
  return plain ? std::string(name) : "";
}

// Returns the variable's path, with ~ for the home directory, or "".
std::string PathOf(const char* name) {
  const char* const value = std::getenv(name);
  const std::string path = value == nullptr ? "" : value;
  const char* const home = std::getenv("HOME");
  const bool in_home = path == "~" || path.starts_with("~/");
  return in_home && home != nullptr ? home + path.substr(1) : path;
}

}  // namespace

std::string HubFolder(std::string_view name) {
  return absl::StrCat(ToAbsl(kPrefix), absl::StrReplaceAll(ToAbsl(name), {{"/", "--"}}));
}

std::string HubModelOf(std::string_view directory) {
  fs::path path(StripTrailingSlashes(std::string(directory)));
  if (path.parent_path().filename() == kSnapshots) path = path.parent_path().parent_path();
  return IsHubFolder(path) ? path.string() : "";
}

std::string HubName(std::string_view directory) {
  const std::string folder = fs::path(HubModelOf(directory)).filename().string();
  if (folder.empty()) return "";
  return absl::StrReplaceAll(absl::string_view(folder).substr(kPrefix.size()), {{"--", "/"}});
}

absl::StatusOr<std::string> HubSnapshot(const std::string& directory) {
  const fs::path model(StripTrailingSlashes(directory));
  std::error_code error;
  if (!IsHubFolder(model) || !fs::is_directory(model / kSnapshots, error)) return directory;
  if (const std::string main = ReadMain(model); !main.empty()) {
    const fs::path snapshot = model / kSnapshots / main;
    if (fs::is_directory(snapshot, error)) return snapshot.string();
  }
  std::vector<std::string> snapshots;
  auto entry = fs::directory_iterator(model / kSnapshots, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    snapshots.push_back(entry->path().string());
  }
  if (snapshots.size() == 1) return snapshots.front();
  return WithPath(absl::InvalidArgumentError(absl::StrCat(
                      "a model of the hub's cache with ", snapshots.size(),
                      " snapshots seen, expected one, or refs/main that names one of them; give "
                      "the path of a snapshot")),
                  directory);
}

absl::StatusOr<std::string> FindModelDirectory(const std::string& text,
                                               std::span<const std::string> caches) {
  std::error_code error;
  if (fs::is_directory(text, error)) return HubSnapshot(text);
  for (const std::string& cache : caches) {
    if (cache.empty()) continue;
    const std::string directory = absl::StrCat(cache, "/", HubFolder(text));
    if (fs::is_directory(directory, error)) return HubSnapshot(directory);
  }
  return text;
}

std::string DefaultModelName(const std::string& directory) {
  if (std::string name = HubName(directory); !name.empty()) return name;
  return fs::path(StripTrailingSlashes(directory)).filename().string();
}

std::string CachesWithout(std::string_view text, std::span<const std::string> caches) {
  std::string searched;
  const bool is_name = !text.starts_with('/') && !text.starts_with('.') && !text.starts_with('~') &&
                       std::ranges::count(text, '/') == 1 && !text.ends_with('/');
  if (!is_name) return searched;
  for (const std::string& cache : caches) {
    if (!cache.empty()) absl::StrAppend(&searched, searched.empty() ? "" : " or ", cache);
  }
  return searched;
}

std::string HubCacheRoot() {
  for (const char* variable : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (std::string cache = PathOf(variable); !cache.empty()) return cache;
  }
  if (const std::string home = PathOf("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string caches = PathOf("XDG_CACHE_HOME"); !caches.empty()) {
    return caches + "/huggingface/hub";
  }
  const std::string home = PathOf("HOME");
  return home.empty() ? "" : home + "/.cache/huggingface/hub";
}

}  // namespace whipsnake::engine
