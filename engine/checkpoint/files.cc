#include "engine/checkpoint/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

absl::Status SystemError(const std::string& path) { return absl::ErrnoToStatus(errno, path); }

// Opens for reading without waiting for the other end of a pipe, and tells the size of a regular
// file.
int OpenForReading(const std::string& path) {
  return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

absl::StatusOr<int64_t> RegularFileSize(const std::string& path, int descriptor) {
  if (descriptor < 0) return SystemError(path);
  struct stat info;
  if (fstat(descriptor, &info) != 0) return SystemError(path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a ", S_ISDIR(info.st_mode) ? "directory" : "special file",
                     " seen, expected a regular file"));
  }
  return info.st_size;
}

absl::Status WriteAll(const std::string& path, int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(path);
    bytes = bytes.subspan(written);
  }
  return absl::OkStatus();
}

// Distinct for every file that this process makes, and, with the process id, for others that write
// the same path.
std::string TemporaryName(const std::string& path) {
  static std::atomic<uint64_t> count{0};
  return absl::StrCat(path, ".tmp-", getpid(), "-", count.fetch_add(1));
}

}  // namespace

std::string ParentOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  const Descriptor descriptor(OpenForReading(path));
  ASSIGN_OR_RETURN(const int64_t size, RegularFileSize(path, descriptor.get()));
  const auto too_large = [&](int64_t seen) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", seen, " bytes seen, expected at most ", max_bytes));
  };
  if (size > max_bytes) return too_large(size);
  // One byte more than the size, so that the end of the file is seen, and growth meanwhile too.
  std::string text(size + 1, '\0');
  int64_t filled = 0;
  while (true) {
    const ssize_t got = read(descriptor.get(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path);
    if (got == 0) break;
    filled += got;
    if (filled > max_bytes) return too_large(filled);
    if (filled == static_cast<int64_t>(text.size())) text.resize(2 * text.size());
  }
  text.resize(filled);
  return text;
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view contents) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Append(contents));
  return file.Commit();
}

absl::Status CheckRoom(const std::string& directory, int64_t bytes) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(directory, error);
  if (error || space.available >= static_cast<uint64_t>(bytes)) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      directory, ": ", space.available, " bytes of room seen, expected at least ", bytes));
}

absl::Status SyncDirectory(const std::string& directory) {
  const Descriptor descriptor(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0 || fsync(descriptor.get()) != 0) return SystemError(directory);
  return absl::OkStatus();
}

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const Descriptor descriptor(OpenForReading(path));
  ASSIGN_OR_RETURN(const int64_t size, RegularFileSize(path, descriptor.get()));
  MappedFile file;
  if (size == 0) return file;  // mmap refuses an empty range
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (address == MAP_FAILED) return SystemError(path);
  file.bytes_ = {static_cast<const std::byte*>(address), static_cast<size_t>(size)};
  return file;
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::string& path) {
  std::string temporary = TemporaryName(path);
  const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return SystemError(path);
  return AtomicFile(path, std::move(temporary), descriptor);
}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::Discard() {
  if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
  if (!temporary_.empty()) unlink(std::exchange(temporary_, "").c_str());
}

absl::Status AtomicFile::Append(std::span<const std::byte> bytes) {
  return WriteAll(path_, descriptor_, bytes);
}

absl::Status AtomicFile::Commit() {
  if (fsync(descriptor_) != 0) return SystemError(path_);
  if (close(std::exchange(descriptor_, -1)) != 0) return SystemError(path_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return SystemError(path_);
  temporary_.clear();
  return SyncDirectory(ParentOf(path_));
}

absl::StatusOr<AtomicDirectory> AtomicDirectory::Create(const std::string& target) {
  std::error_code error;
  const auto state = std::filesystem::status(target, error);
  if (std::filesystem::exists(state) &&
      !(std::filesystem::is_directory(state) && std::filesystem::is_empty(target, error))) {
    return absl::AlreadyExistsError(absl::StrCat(
        target, ": a file or a directory that is not empty seen, expected nothing there"));
  }
  std::string plain = target;
  while (plain.size() > 1 && plain.back() == '/') plain.pop_back();
  std::string temporary = TemporaryName(plain);
  if (mkdir(temporary.c_str(), 0777) != 0) return SystemError(target);
  return AtomicDirectory(std::move(plain), std::move(temporary));
}

AtomicDirectory& AtomicDirectory::operator=(AtomicDirectory&& other) noexcept {
  std::swap(target_, other.target_);
  std::swap(temporary_, other.temporary_);
  return *this;
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
}

absl::Status AtomicDirectory::Commit() {
  RETURN_IF_ERROR(SyncDirectory(temporary_));
  // This replaces an empty directory and nothing else.
  if (rename(temporary_.c_str(), target_.c_str()) != 0) return SystemError(target_);
  temporary_.clear();
  return SyncDirectory(ParentOf(target_));
}

absl::Status CopyCompanions(const std::string& from, const std::string& to) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "generation_config.json"}) {
    const auto text = ReadTextFile(absl::StrCat(from, "/", name));
    if (absl::IsNotFound(text.status())) continue;
    RETURN_IF_ERROR(text.status());
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(to, "/", name), *text));
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
