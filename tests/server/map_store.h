// A Store in memory, for tests of those who write records. It keeps no events and no heartbeats.
#ifndef WHIPSNAKE_TESTS_SERVER_MAP_STORE_H_
#define WHIPSNAKE_TESTS_SERVER_MAP_STORE_H_

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "server/store/store.h"

namespace whipsnake::server {

class MapStore : public Store {
 public:
  using Key = std::pair<Collection, std::string>;
  struct Contents {
    std::map<Key, Record> records;
    int64_t last_number = 0;
  };

  MapStore() = default;
  explicit MapStore(Contents contents) : contents_(std::move(contents)) {}

  // Called before and after every commit, without the lock.
  std::function<void()> around_commit;
  // The error of the next commits, which then do nothing.
  absl::Status error;

  Contents contents() const {
    engine::MutexLock lock(mutex_);
    return contents_;
  }

  absl::StatusOr<Committed> Commit(std::span<const Write> writes) override {
    if (around_commit) around_commit();
    auto committed = Apply(writes);
    if (around_commit) around_commit();
    return committed;
  }

  absl::StatusOr<Record> Get(Collection collection, std::string_view key) override {
    engine::MutexLock lock(mutex_);
    const auto found = contents_.records.find({collection, std::string(key)});
    if (found == contents_.records.end()) return absl::NotFoundError(engine::ToAbsl(key));
    return found->second;
  }

  absl::StatusOr<std::vector<Record>> List(Collection collection, int64_t after,
                                           int limit) override {
    std::vector<Record> records =
        Select(collection, [&](const Record& record) { return record.number > after; });
    if (std::ssize(records) > limit) records.resize(limit);
    return records;
  }

  absl::StatusOr<std::vector<Record>> Children(Collection collection,
                                               std::string_view parent) override {
    return Select(collection, [&](const Record& record) { return record.parent == parent; });
  }

  absl::StatusOr<std::vector<StoredEvent>> Events(std::string_view, int64_t, int) override {
    return std::vector<StoredEvent>();
  }
  absl::Status Beat(std::string_view, std::string_view) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<Heartbeat>> Heartbeats() override { return std::vector<Heartbeat>(); }
  absl::Status EndBeat(std::string_view) override { return absl::OkStatus(); }

 private:
  absl::StatusOr<Committed> Apply(std::span<const Write> writes) {
    engine::MutexLock lock(mutex_);
    if (!error.ok()) return error;
    Contents next = contents_;
    Committed committed;
    for (const Write& write : writes) {
      if (const auto* create = std::get_if<CreateRecord>(&write)) {
        const Key key(create->collection, create->key);
        if (next.records.contains(key)) return absl::AlreadyExistsError(create->key);
        const WallTime now = Now();
        next.records[key] = {create->key, create->parent, ++next.last_number, 1, create->value, now,
                             now};
        committed.records.push_back(next.records[key]);
      } else if (const auto* update = std::get_if<UpdateRecord>(&write)) {
        const auto found = next.records.find({update->collection, update->key});
        if (found == next.records.end()) return absl::NotFoundError(update->key);
        Record& record = found->second;
        if (update->revision != 0 && update->revision != record.revision) {
          return absl::AbortedError(update->key);
        }
        record.value = update->value;
        ++record.revision;
        record.update_time = Now();
        committed.records.push_back(record);
      } else if (const auto* drop = std::get_if<DeleteRecord>(&write)) {
        if (next.records.erase({drop->collection, drop->key}) == 0) {
          return absl::NotFoundError(drop->key);
        }
      } else {
        return absl::UnimplementedError("MapStore");
      }
    }
    contents_ = std::move(next);
    return committed;
  }

  template <typename Wanted>
  std::vector<Record> Select(Collection collection, const Wanted& wanted) const {
    engine::MutexLock lock(mutex_);
    std::vector<Record> records;
    for (const auto& [key, record] : contents_.records) {
      if (key.first == collection && wanted(record)) records.push_back(record);
    }
    std::ranges::sort(records, {}, &Record::number);
    return records;
  }

  static WallTime Now() {
    return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  }

  mutable engine::Mutex mutex_;
  Contents contents_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_MAP_STORE_H_
