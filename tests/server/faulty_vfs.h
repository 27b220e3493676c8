// SQLite's interface to files on a FaultyDisk.
#ifndef WHIPSNAKE_TESTS_SERVER_FAULTY_VFS_H_
#define WHIPSNAKE_TESTS_SERVER_FAULTY_VFS_H_

#include <sqlite3.h>

#include <string>

#include "tests/server/faulty_disk.h"

namespace whipsnake::server {

// Registered with SQLite under name() while it exists. It behaves as SQLite's own interface for
// Unix does: which error a fault becomes, and when the names of files are synced. A file is used by
// one connection at a time, so there are no locks. Waiting takes no time.
class FaultyVfs {
 public:
  // `disk` must outlive this.
  explicit FaultyVfs(FaultyDisk* disk);
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;
  ~FaultyVfs();

  const std::string& name() const { return name_; }
  FaultyDisk& disk() { return disk_; }

  // Whether files can only be opened for reading.
  bool read_only = false;
  // The errno of the last error.
  int last_error = 0;

 private:
  FaultyDisk& disk_;
  const std::string name_;
  sqlite3_vfs vfs_ = {};
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_FAULTY_VFS_H_
