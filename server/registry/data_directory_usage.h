// How full the disk beneath the data directory is, and what of it the server takes.
#ifndef WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_USAGE_H_
#define WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_USAGE_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include "engine/base/mutex.h"
#include "server/registry/data_directory.h"

namespace whipsnake::server {

// Measures once when it is made, and then periodically on a thread of its own, because a scrape
// must not wait for a disk. Thread-safe.
class DataDirectoryUsage {
 public:
  enum class Part { kStates, kDatasets, kJobs, kModels, kStore };
  static constexpr int kParts = 5;
  static std::string_view NameOf(Part part);  // "states", "datasets", "jobs", "models", "store"

  static constexpr std::chrono::seconds kPeriod{15};

  // `data` must be of a directory (not of an empty path).
  explicit DataDirectoryUsage(const DataDirectory& data,
                              std::chrono::milliseconds period = kPeriod);
  ~DataDirectoryUsage();
  DataDirectoryUsage(const DataDirectoryUsage&) = delete;
  DataDirectoryUsage& operator=(const DataDirectoryUsage&) = delete;

  // Of the last measurement; those of the file system are 0 if none has succeeded. Lock-free.
  int64_t size_bytes() const { return size_; }
  // What the process can still write, without what is reserved for root.
  int64_t free_bytes() const { return free_; }
  // The blocks of the part's files. A file with several names counts in the first part of those
  // that have it.
  int64_t used_bytes(Part part) const { return used_[static_cast<size_t>(part)]; }

  // Measures now, on this thread.
  void Measure();

 private:
  void Loop(std::chrono::milliseconds period);

  const std::array<std::string, kParts> paths_;
  std::atomic<int64_t> size_ = 0, free_ = 0;
  std::array<std::atomic<int64_t>, kParts> used_ = {};
  engine::Mutex mutex_;
  engine::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_USAGE_H_
