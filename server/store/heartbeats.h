// The heartbeats of a store, kept in memory so that none waits for the disk, and which of them are
// not saved yet.
#ifndef WHIPSNAKE_SERVER_STORE_HEARTBEATS_H_
#define WHIPSNAKE_SERVER_STORE_HEARTBEATS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/mutex.h"
#include "server/store/store.h"

namespace whipsnake::server {

// Thread-safe.
class HeartbeatBook {
 public:
  // What has changed since it was last saved.
  struct Unsaved {
    std::vector<Heartbeat> beats;
    std::vector<std::string> ended;  // keys that have no heartbeat any more
    int64_t changes = 0;             // for MarkSaved
  };

  // `saved`: the heartbeats that are saved already.
  explicit HeartbeatBook(std::vector<Heartbeat> saved);

  void Beat(Heartbeat beat);
  void End(std::string_view key);
  std::vector<Heartbeat> All() const;  // sorted by key

  Unsaved unsaved() const;
  // Takes note that these are saved. Those that have changed since remain unsaved.
  void MarkSaved(const Unsaved& saved);

 private:
  mutable engine::Mutex mutex_;
  std::map<std::string, Heartbeat, std::less<>> beats_ ABSL_GUARDED_BY(mutex_);
  // The count of changes when a key, whether it still has a heartbeat or not, last changed.
  std::map<std::string, int64_t, std::less<>> changed_ ABSL_GUARDED_BY(mutex_);
  int64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_STORE_HEARTBEATS_H_
