#include "server/registry/data_directory_usage.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "engine/base/files.h"
#include "server/disk_errors.h"
#include "server/guarded.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;

// Files with several names that have been counted, by device and number.
using CountedFiles = std::set<std::pair<dev_t, ino_t>>;

// The bytes of the blocks of a file; 0 if it has gone meanwhile.
int64_t BlocksOf(const std::string& path, CountedFiles& counted) {
  constexpr int64_t kBlock = 512;  // of st_blocks, whatever the file system has
  struct stat file = {};
  if (lstat(path.c_str(), &file) != 0) return 0;
  const bool shared = !S_ISDIR(file.st_mode) && file.st_nlink > 1;
  if (shared && !counted.emplace(file.st_dev, file.st_ino).second) return 0;
  return int64_t{file.st_blocks} * kBlock;
}

// Of a file, or of a directory and all in it. Files come and go meanwhile, so nothing is an error.
int64_t BytesBelow(const std::string& path, CountedFiles& counted) {
  int64_t bytes = BlocksOf(path, counted);
  std::error_code error;
  fs::recursive_directory_iterator entry(path, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    bytes += BlocksOf(entry->path().string(), counted);
  }
  return bytes;
}

}  // namespace

std::string_view DataDirectoryUsage::NameOf(Part part) {
  switch (part) {
    case Part::kStates:
      return "states";
    case Part::kDatasets:
      return "datasets";
    case Part::kJobs:
      return "jobs";
    case Part::kModels:
      return "models";
    case Part::kStore:
      return "store";
  }
  return "";
}

DataDirectoryUsage::DataDirectoryUsage(const DataDirectory& data, std::chrono::milliseconds period)
    : paths_{data.states(), data.datasets(), data.jobs(), data.models(), data.store()} {
  Measure();
  thread_ = std::thread([this, period] { Loop(period); });
}

DataDirectoryUsage::~DataDirectoryUsage() {
  {
    engine::MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyOne();
  thread_.join();
}

void DataDirectoryUsage::Measure() {
  const std::string& any = paths_.front();  // all are on one file system
  struct statvfs disk = {};
  if (statvfs(any.c_str(), &disk) == 0) {
    size_ = static_cast<int64_t>(disk.f_blocks * disk.f_frsize);
    free_ = static_cast<int64_t>(disk.f_bavail * disk.f_frsize);
  } else {
    LogDiskError("the free space of the data directory cannot be read",
                 engine::FileError(errno, any));
  }
  CountedFiles counted;
  for (size_t i = 0; i < paths_.size(); ++i) {
    int64_t bytes = BytesBelow(paths_[i], counted);
    if (static_cast<Part>(i) == Part::kStore) {
      // SQLite's files beside the database.
      for (const char* suffix : {"-wal", "-shm"}) bytes += BlocksOf(paths_[i] + suffix, counted);
    }
    used_[i] = bytes;
  }
}

void DataDirectoryUsage::Loop(std::chrono::milliseconds period) {
  while (true) {
    {
      engine::MutexLock lock(mutex_);
      const auto next = std::chrono::steady_clock::now() + period;
      while (!stopping_ && wake_.WaitUntil(mutex_, next)) continue;
      if (stopping_) return;
    }
    RunGuarded("data directory", [this] { Measure(); });
  }
}

}  // namespace whipsnake::server
