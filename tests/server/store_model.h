// A Store's contract as plain containers, with which random tests compare it.
#ifndef WHIPSNAKE_TESTS_SERVER_STORE_MODEL_H_
#define WHIPSNAKE_TESTS_SERVER_STORE_MODEL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace whipsnake::server {

// All collections, and keys, parents, streams and owners of heartbeats, that random tests use.
const std::vector<Collection>& AllCollections();
const std::vector<std::string>& RandomNames();

// What can be read from a store. Texts, so that a difference can be printed.
using Contents = std::map<std::string, std::string>;

// Returns the contents by all functions that read, without heartbeats. Lists are read in pages of
// this size.
absl::StatusOr<Contents> ReadContents(Store& store, int page_size);

class StoreModel {
 public:
  // Applies the writes as Commit has to. Takes the numbers and ids from `actual`, what the store
  // has returned, and checks them and everything else in it. Returns what is wrong, or "".
  std::string Commit(std::span<const Write> writes, WallTime now,
                     const absl::StatusOr<Committed>& actual);
  Contents contents() const;

  // Returns a random list of writes, most of which succeed.
  std::vector<Write> RandomWrites(std::mt19937_64& random) const;

 private:
  struct State {
    std::map<std::pair<Collection, std::string>, Record> records;
    std::vector<StoredEvent> events;
  };
  struct Replay;

  State state_;
  std::map<Collection, int64_t> last_number_;
  int64_t last_event_ = 0;
};

// The heartbeats that a store may have after a crash: for each key, those since the last commit.
class HeartbeatModel {
 public:
  void Beat(const std::string& key, const std::string& value, WallTime time);
  void End(const std::string& key);
  void Committed();
  // Checks the heartbeats of a store that has not crashed since. Returns what is wrong, or "".
  std::string Check(const std::vector<Heartbeat>& actual) const;
  // Checks those after a crash and continues with them.
  std::string CheckAfterCrash(const std::vector<Heartbeat>& actual);

 private:
  // Of each key: all its heartbeats since the last commit, as text, "" for none.
  std::map<std::string, std::vector<std::string>> since_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_STORE_MODEL_H_
