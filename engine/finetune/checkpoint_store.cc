#include "engine/finetune/checkpoint_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <span>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "engine/base/atomic_file.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-";

std::string StepName(int64_t step) { return absl::StrFormat("%s%08d", ToAbsl(kStepPrefix), step); }

// The inverse of StepName; nullopt for other names.
std::optional<int64_t> StepOf(const std::string& name) {
  int64_t step = 0;
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  if (!absl::SimpleAtoi(name.substr(kStepPrefix.size()), &step)) return std::nullopt;
  return StepName(step) == name ? std::optional(step) : std::nullopt;
}

// Locks the file for as long as the result exists. The file has the number of the process.
absl::StatusOr<Descriptor> LockDirectory(const std::string& directory) {
  const std::string path = directory + "/lock";
  Descriptor lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (lock.get() < 0) return FileError(errno, path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FileError(errno, path);
    const auto owner = ReadTextFile(path);
    return WithPath(absl::FailedPreconditionError(
                        absl::StrCat("in use by process ", owner.ok() ? *owner : "unknown",
                                     ", expected a directory of its own for each run")),
                    directory);
  }
  const std::string self = absl::StrCat(getpid());
  if (ftruncate(lock.get(), 0) != 0 ||
      pwrite(lock.get(), self.data(), self.size(), 0) != std::ssize(self)) {
    return FileError(errno, path);
  }
  return lock;
}

// Renames a damaged checkpoint to the first free name. Returns that name.
absl::StatusOr<std::string> SetAside(const std::string& path) {
  std::string aside;
  int number = 0;
  do {
    aside = absl::StrCat(path, ".damaged-", ++number);
  } while (fs::exists(fs::symlink_status(aside)));
  if (rename(path.c_str(), aside.c_str()) != 0) return FileError(errno, path);
  return fs::path(aside).filename().string();
}

}  // namespace

absl::StatusOr<CheckpointStore> CheckpointStore::Open(const std::string& directory) {
  const std::string plain = StripTrailingSlashes(directory);
  if (mkdir(plain.c_str(), 0777) == 0) {
    RETURN_IF_ERROR(SyncDirectory(ParentOf(plain)));
  } else if (errno != EEXIST) {
    return FileError(errno, plain);
  }
  ASSIGN_OR_RETURN(Descriptor lock, LockDirectory(plain));
  return CheckpointStore(plain, std::move(lock));
}

std::string CheckpointStore::PathOf(const std::string& directory, int64_t step) {
  return absl::StrCat(directory, "/", StepName(step));
}

absl::Status CheckpointStore::Save(Trainer& trainer, const RunIdentity& identity,
                                   std::span<const double> reference, int64_t keep) {
  RETURN_IF_ERROR(TrainingCheckpoint::Write(trainer, identity, reference, PathOf(trainer.step())));
  return keep == 0 ? absl::OkStatus() : Prune(trainer.step(), keep);
}

absl::Status CheckpointStore::Prune(int64_t last, int64_t keep) {
  ASSIGN_OR_RETURN(std::vector<int64_t> steps, List());
  std::erase_if(steps, [last](int64_t step) { return step > last; });
  const int64_t surplus = std::max<int64_t>(std::ssize(steps) - keep, 0);
  for (const int64_t step : std::span(steps).first(surplus)) {
    RETURN_IF_ERROR(RemoveDirectory(PathOf(step)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> CheckpointStore::StepsIn(const std::string& directory) {
  std::vector<int64_t> steps;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    const std::optional<int64_t> step = StepOf(entry->path().filename().string());
    std::error_code ignored;
    if (step && entry->is_directory(ignored)) steps.push_back(*step);
  }
  if (error) return FileError(error.value(), directory);
  std::ranges::sort(steps);
  return steps;
}

absl::StatusOr<TrainingCheckpoint> CheckpointStore::Load(int64_t step) const {
  return TrainingCheckpoint::Open(PathOf(step));
}

absl::StatusOr<std::optional<TrainingCheckpoint>> CheckpointStore::Latest(
    std::vector<std::string>& warnings) {
  ASSIGN_OR_RETURN(std::vector<int64_t> steps, List());
  std::ranges::reverse(steps);
  for (const int64_t step : steps) {
    auto checkpoint = Load(step);
    if (checkpoint.ok()) return std::optional(*std::move(checkpoint));
    if (!absl::IsDataLoss(checkpoint.status())) return checkpoint.status();
    ASSIGN_OR_RETURN(const std::string aside, SetAside(PathOf(step)));
    warnings.push_back(absl::StrCat(StepName(step), "/", ClientMessage(checkpoint.status()),
                                    "; renamed to ", aside));
  }
  return std::nullopt;
}

}  // namespace whipsnake::engine
