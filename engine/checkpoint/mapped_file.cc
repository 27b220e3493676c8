#include "engine/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/checkpoint/mapping_faults.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kNanoseconds = 1'000'000'000;

int64_t ModificationTime(const struct stat& info) {
  return info.st_mtim.tv_sec * kNanoseconds + info.st_mtim.tv_nsec;
}

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  MappedFile file;
  file.path_ = path;
  ASSIGN_OR_RETURN(Descriptor descriptor, OpenRegularFile(path));
  struct stat info;
  if (fstat(descriptor.get(), &info) != 0) return FileError(errno, path);
  file.descriptor_ = descriptor.Release();
  file.modified_ = ModificationTime(info);
  if (info.st_size == 0) return file;  // mmap refuses an empty range
  void* address = mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, file.descriptor_, 0);
  if (address == MAP_FAILED) return FileError(errno, path);
  file.bytes_ = {static_cast<const std::byte*>(address), static_cast<size_t>(info.st_size)};
  file.range_ = WatchFaults(file.bytes_);
  if (file.range_ == nullptr) {
    return WithPath(absl::ResourceExhaustedError("too many mapped files"), path);
  }
  return file;
}

absl::Status MappedFile::Check() const {
  const auto reject = [this](const char* what) {
    return WithPath(
        absl::DataLossError(absl::StrCat(
            what,
            ", expected a file that does not change while it is in use; to replace it, rename "
            "another file over it")),
        path_);
  };
  if (descriptor_ < 0) return absl::OkStatus();
  if (range_ != nullptr && range_->damaged.load(std::memory_order_acquire)) {
    return reject("unreadable bytes seen");
  }
  struct stat info;
  if (fstat(descriptor_, &info) != 0) return FileError(errno, path_);
  if (info.st_size != std::ssize(bytes_)) return reject("another size seen");
  if (ModificationTime(info) != modified_) return reject("a later modification time seen");
  return absl::OkStatus();
}

void MappedFile::Swap(MappedFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(range_, other.range_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(modified_, other.modified_);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  Swap(other);
  return *this;
}

MappedFile::~MappedFile() {
  UnwatchFaults(range_);
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace whipsnake::engine
