#include "tests/server/faulty_disk.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

namespace whipsnake::server {

void FaultyDisk::File::Apply(const Change& change, std::string* bytes) {
  if (!change.is_write) return bytes->resize(change.offset);
  bytes->resize(std::max(bytes->size(), change.offset + change.bytes.size()));
  bytes->replace(change.offset, change.bytes.size(), change.bytes);
}

FaultyDisk::FaultyDisk(uint64_t seed, const Image& image) : random_(seed) {
  for (const auto& [name, bytes] : image) names_[name] = std::make_shared<File>(bytes);
  SyncNames();
}

FaultyDisk::Image FaultyDisk::image() const {
  Image image;
  for (const auto& [name, file] : names_) image[name] = file->bytes_;
  return image;
}

void FaultyDisk::Fail(const Fault& fault) {
  fault_ = fault;
  accesses_ = failed_ = 0;
}

bool FaultyDisk::EndFault() {
  fault_ = {};
  return std::exchange(failed_, 0) > 0;
}

int FaultyDisk::Access(bool is_sync) {
  if (!runs_) return EIO;
  ++(is_sync ? syncs_ : writes_);
  if (fault_.error == 0 || !(is_sync ? fault_.syncs : fault_.writes)) return 0;
  ++accesses_;
  if (accesses_ != fault_.first && !(accesses_ > fault_.first && fault_.repeats)) return 0;
  ++failed_;
  if (fault_.stops) runs_ = false;
  return fault_.error;
}

void FaultyDisk::Start(Loss loss) {
  std::set<std::string> all;
  for (const auto& [name, file] : names_) all.insert(name);
  for (const auto& [name, file] : synced_names_) all.insert(name);
  Names left;
  for (const std::string& name : all) {
    const bool synced = loss == Loss::kAll || (loss == Loss::kSome && OneIn(2));
    const Names& names = synced ? synced_names_ : names_;
    const auto found = names.find(name);
    if (found == names.end()) continue;
    const File& file = *found->second;
    std::string bytes = loss == Loss::kNone ? file.bytes_ : file.synced_;
    for (File::Change change : file.changes_) {
      if (loss != Loss::kSome || OneIn(3)) continue;
      if (OneIn(2)) change.bytes.resize(Below(change.bytes.size() + 1));
      File::Apply(change, &bytes);
    }
    left[name] = std::make_shared<File>(std::move(bytes));
  }
  names_ = synced_names_ = std::move(left);
  fault_ = {};
  runs_ = true;
}

std::shared_ptr<FaultyDisk::File> FaultyDisk::Find(const std::string& name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : found->second;
}

int FaultyDisk::Create(const std::string& name, std::shared_ptr<File>* file) {
  const int error = Access(/*is_sync=*/false);
  if (error == 0) *file = names_[name] = std::make_shared<File>();
  return error;
}

int FaultyDisk::Remove(const std::string& name) {
  const int error = Access(/*is_sync=*/false);
  if (error == 0) names_.erase(name);
  return error;
}

void FaultyDisk::SyncNames() { synced_names_ = names_; }

int FaultyDisk::Read(const File& file, int64_t offset, int64_t bytes, std::string* result) const {
  if (!runs_) return EIO;
  const auto size = static_cast<int64_t>(file.bytes_.size());
  *result = offset < size ? file.bytes_.substr(offset, bytes) : std::string();
  return 0;
}

int FaultyDisk::Write(File& file, int64_t offset, std::string_view bytes) {
  const int error = Access(/*is_sync=*/false);
  // A write that fails may have been done in part.
  if (error != 0) bytes = bytes.substr(0, Below(bytes.size() + 1));
  File::Change change{.offset = offset, .bytes = std::string(bytes)};
  File::Apply(change, &file.bytes_);
  file.changes_.push_back(std::move(change));
  return error;
}

int FaultyDisk::Truncate(File& file, int64_t bytes) {
  const int error = Access(/*is_sync=*/false);
  if (error != 0) return error;
  File::Change change{.offset = bytes, .bytes = "", .is_write = false};
  File::Apply(change, &file.bytes_);
  file.changes_.push_back(std::move(change));
  return 0;
}

int FaultyDisk::Sync(File& file) {
  const int error = Access(/*is_sync=*/true);
  if (!runs_) return EIO;  // the changes are lost in Start
  for (const File::Change& change : file.changes_) {
    if (error == 0 || OneIn(2)) File::Apply(change, &file.synced_);
  }
  file.changes_.clear();
  return error;
}

}  // namespace whipsnake::server
