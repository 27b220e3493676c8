#include "tests/server/faulty_vfs.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace whipsnake::server {
namespace {

constexpr int kMaxPath = 512;

// An open file. SQLite allocates the memory and calls xClose.
struct VfsFile {
  sqlite3_file base;  // must be first
  FaultyVfs* vfs;
  std::shared_ptr<FaultyDisk::File> file;
  bool syncs_names;  // with its next sync
  // The index of the write-ahead log, which connections would share.
  std::vector<std::unique_ptr<char[]>> shared_memory;

  FaultyDisk& disk() const { return vfs->disk(); }
};

VfsFile& Of(sqlite3_file* file) { return *reinterpret_cast<VfsFile*>(file); }
FaultyVfs& Of(sqlite3_vfs* vfs) { return *static_cast<FaultyVfs*>(vfs->pAppData); }

// Returns `code` for an error.
int Failed(FaultyVfs& vfs, int error, int code) {
  if (error == 0) return SQLITE_OK;
  vfs.last_error = error;
  return code;
}

int Close(sqlite3_file* file) {
  Of(file).~VfsFile();
  return SQLITE_OK;
}

int Read(sqlite3_file* file, void* buffer, int bytes, sqlite3_int64 offset) {
  std::string read;
  const int error = Of(file).disk().Read(*Of(file).file, offset, bytes, &read);
  if (error != 0) return Failed(*Of(file).vfs, error, SQLITE_IOERR_READ);
  std::memset(buffer, 0, bytes);
  std::memcpy(buffer, read.data(), read.size());
  return static_cast<int>(read.size()) == bytes ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int WriteBytes(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
  const int error = Of(file).disk().Write(*Of(file).file, offset,
                                          std::string_view(static_cast<const char*>(bytes), size));
  return Failed(*Of(file).vfs, error, error == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE);
}

int Truncate(sqlite3_file* file, sqlite3_int64 bytes) {
  return Failed(*Of(file).vfs, Of(file).disk().Truncate(*Of(file).file, bytes),
                SQLITE_IOERR_TRUNCATE);
}

int Sync(sqlite3_file* file, int) {
  VfsFile& of = Of(file);
  const int error = of.disk().Sync(*of.file);
  if (error == 0 && std::exchange(of.syncs_names, false)) of.disk().SyncNames();
  return Failed(*of.vfs, error, SQLITE_IOERR_FSYNC);
}

int FileSize(sqlite3_file* file, sqlite3_int64* bytes) {
  *bytes = static_cast<sqlite3_int64>(Of(file).file->bytes().size());
  return SQLITE_OK;
}

int Lock(sqlite3_file*, int) { return SQLITE_OK; }
int CheckReservedLock(sqlite3_file*, int* is_locked) {
  *is_locked = 0;
  return SQLITE_OK;
}
int FileControl(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int SectorSize(sqlite3_file*) { return 4096; }
int DeviceCharacteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int ShmMap(sqlite3_file* file, int region, int bytes, int extend, void volatile** memory) {
  auto& regions = Of(file).shared_memory;
  while (extend != 0 && static_cast<int>(regions.size()) <= region) {
    regions.push_back(std::make_unique<char[]>(bytes));
  }
  *memory = region < static_cast<int>(regions.size()) ? regions[region].get() : nullptr;
  return SQLITE_OK;
}
int ShmLock(sqlite3_file*, int, int, int) { return SQLITE_OK; }
void ShmBarrier(sqlite3_file*) {}
int ShmUnmap(sqlite3_file* file, int) {
  Of(file).shared_memory.clear();
  return SQLITE_OK;
}

constexpr sqlite3_io_methods kFileMethods = {
    .iVersion = 2,
    .xClose = Close,
    .xRead = Read,
    .xWrite = WriteBytes,
    .xTruncate = Truncate,
    .xSync = Sync,
    .xFileSize = FileSize,
    .xLock = Lock,
    .xUnlock = Lock,
    .xCheckReservedLock = CheckReservedLock,
    .xFileControl = FileControl,
    .xSectorSize = SectorSize,
    .xDeviceCharacteristics = DeviceCharacteristics,
    .xShmMap = ShmMap,
    .xShmLock = ShmLock,
    .xShmBarrier = ShmBarrier,
    .xShmUnmap = ShmUnmap,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  FaultyVfs& of = Of(vfs);
  file->pMethods = nullptr;  // nothing to close
  if (!of.disk().runs()) return Failed(of, EIO, SQLITE_CANTOPEN);
  std::shared_ptr<FaultyDisk::File> found = of.disk().Find(name);
  if (found == nullptr) {
    if ((flags & SQLITE_OPEN_CREATE) == 0) return Failed(of, ENOENT, SQLITE_CANTOPEN);
    const int error = of.disk().Create(name, &found);
    if (error != 0) return Failed(of, error, SQLITE_CANTOPEN);
  }
  const bool is_log = (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
  new (file) VfsFile{.base = {&kFileMethods},
                     .vfs = &of,
                     .file = std::move(found),
                     .syncs_names = is_log && (flags & SQLITE_OPEN_CREATE) != 0,
                     .shared_memory = {}};
  if (of.read_only) flags = (flags & ~SQLITE_OPEN_READWRITE) | SQLITE_OPEN_READONLY;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int Delete(sqlite3_vfs* vfs, const char* name, int syncs_names) {
  FaultyVfs& of = Of(vfs);
  if (of.disk().Find(name) == nullptr) return Failed(of, ENOENT, SQLITE_IOERR_DELETE_NOENT);
  const int error = of.disk().Remove(name);
  if (error == 0 && syncs_names != 0) of.disk().SyncNames();
  return Failed(of, error, SQLITE_IOERR_DELETE);
}

int Exists(sqlite3_vfs* vfs, const char* name, int, int* exists) {
  const auto file = Of(vfs).disk().Find(name);
  *exists = file != nullptr && !file->bytes().empty();
  return SQLITE_OK;
}

int FullPathname(sqlite3_vfs*, const char* name, int bytes, char* full) {
  return std::snprintf(full, bytes, "%s", name) < bytes ? SQLITE_OK : SQLITE_CANTOPEN;
}

int Randomness(sqlite3_vfs* vfs, int bytes, char* result) {
  std::generate_n(result, bytes, [&] { return static_cast<char>(Of(vfs).disk().random()()); });
  return bytes;
}

int Sleep(sqlite3_vfs*, int microseconds) { return microseconds; }

int CurrentTime(sqlite3_vfs*, sqlite3_int64* milliseconds) {
  *milliseconds = 0;
  return SQLITE_OK;
}

int LastError(sqlite3_vfs* vfs, int, char*) { return Of(vfs).last_error; }

}  // namespace

FaultyVfs::FaultyVfs(FaultyDisk* disk)
    : disk_(*disk), name_(absl::StrCat("faulty ", reinterpret_cast<uintptr_t>(this))) {
  vfs_.iVersion = 2;
  vfs_.szOsFile = sizeof(VfsFile);
  vfs_.mxPathname = kMaxPath;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.xOpen = Open;
  vfs_.xDelete = Delete;
  vfs_.xAccess = Exists;
  vfs_.xFullPathname = FullPathname;
  vfs_.xRandomness = Randomness;
  vfs_.xSleep = Sleep;
  vfs_.xGetLastError = LastError;
  vfs_.xCurrentTimeInt64 = CurrentTime;
  sqlite3_vfs_register(&vfs_, /*makeDflt=*/0);
}

FaultyVfs::~FaultyVfs() { sqlite3_vfs_unregister(&vfs_); }

}  // namespace whipsnake::server
