// A disk in memory that loses what is not synced when the machine stops, and that can fail.
#ifndef WHIPSNAKE_TESTS_SERVER_FAULTY_DISK_H_
#define WHIPSNAKE_TESTS_SERVER_FAULTY_DISK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace whipsnake::server {

// Functions that can fail return an errno, or 0. Not thread-safe.
class FaultyDisk {
 public:
  // What happens to the changes that are not synced when the machine stops.
  enum class Loss {
    kNone,  // only the process has ended
    kAll,
    kSome,  // each is lost, or kept, or kept in part
  };

  // From the access `first` on, counted from 1 at the call of Fail, accesses that write or sync
  // fail: one of them, or all.
  struct Fault {
    int error = 0;  // errno
    bool writes = true, syncs = true;
    int64_t first = 1;
    bool repeats = false;
    bool stops = false;  // the machine stops there
  };

  class File;
  using Image = std::map<std::string, std::string>;  // the bytes of each file

  explicit FaultyDisk(uint64_t seed, const Image& image = {});
  Image image() const;

  void Fail(const Fault& fault);
  // Ends the fault. Returns whether anything has failed.
  bool EndFault();

  // Stops the machine: everything fails until Start.
  void Stop() { runs_ = false; }
  // Starts it again with what is left. Open files have no effect any more.
  void Start(Loss loss);

  // Returns null if there is no such file.
  std::shared_ptr<File> Find(const std::string& name) const;
  int Create(const std::string& name, std::shared_ptr<File>* file);
  // A removal or creation is synced by SyncNames.
  int Remove(const std::string& name);
  void SyncNames();

  int Read(const File& file, int64_t offset, int64_t bytes, std::string* result) const;
  int Write(File& file, int64_t offset, std::string_view bytes);
  int Truncate(File& file, int64_t bytes);
  // After an error some changes are synced, and the others never will be, although they can be
  // read. So does Linux.
  int Sync(File& file);

  bool runs() const { return runs_; }
  int64_t writes() const { return writes_; }
  int64_t syncs() const { return syncs_; }
  std::mt19937_64& random() { return random_; }

 private:
  using Names = std::map<std::string, std::shared_ptr<File>>;

  bool OneIn(int count) { return random_() % count == 0; }
  size_t Below(size_t limit) { return random_() % limit; }
  // Counts an access and returns its error.
  int Access(bool is_sync);

  std::mt19937_64 random_;
  bool runs_ = true;
  Names names_, synced_names_;
  Fault fault_;
  int64_t accesses_ = 0, failed_ = 0;  // since Fail
  int64_t writes_ = 0, syncs_ = 0;
};

class FaultyDisk::File {
 public:
  File() = default;
  explicit File(std::string bytes) : bytes_(bytes), synced_(std::move(bytes)) {}
  const std::string& bytes() const { return bytes_; }

 private:
  friend class FaultyDisk;
  // A write, or the new size of the file.
  struct Change {
    int64_t offset = 0;  // of a write; else the size
    std::string bytes;
    bool is_write = true;
  };
  static void Apply(const Change& change, std::string* bytes);

  std::string bytes_, synced_;
  std::vector<Change> changes_;  // that are not synced
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_FAULTY_DISK_H_
