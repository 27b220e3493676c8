// A Store in memory, for the tests of those who use one.
#ifndef WHIPSNAKE_TESTS_SERVER_FAKE_STORE_H_
#define WHIPSNAKE_TESTS_SERVER_FAKE_STORE_H_

#include <array>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "server/store/store.h"

namespace whipsnake::server {

// Outlives the objects that use it, as a file outlives a process. Thread-safe.
class FakeStore : public Store {
 public:
  // Called by Commit and Get; an error is returned, with nothing done. May be null.
  std::function<absl::Status()> before;
  std::function<WallTime()> now = std::chrono::system_clock::now;

  absl::StatusOr<Committed> Commit(std::span<const Write> writes) override {
    engine::MutexLock lock(mutex_);
    if (before) RETURN_IF_ERROR(before());
    Contents changed = contents_;
    Committed committed;
    for (const Write& write : writes) {
      RETURN_IF_ERROR(
          std::visit([&](const auto& part) { return Apply(part, changed, committed); }, write));
    }
    contents_ = std::move(changed);
    return committed;
  }

  absl::StatusOr<Record> Get(Collection collection, std::string_view key) override {
    engine::MutexLock lock(mutex_);
    if (before) RETURN_IF_ERROR(before());
    const auto& records = contents_.records[static_cast<int>(collection)];
    const auto found = records.find(std::string(key));
    if (found == records.end()) return NotFound(collection, key);
    return found->second;
  }

  absl::StatusOr<std::vector<Record>> List(Collection collection, int64_t after,
                                           int limit) override {
    std::vector<Record> listed;
    for (Record& record : Sorted(collection)) {
      if (record.number > after && std::ssize(listed) < limit) listed.push_back(std::move(record));
    }
    return listed;
  }

  absl::StatusOr<std::vector<Record>> Children(Collection collection,
                                               std::string_view parent) override {
    std::vector<Record> children = Sorted(collection);
    std::erase_if(children, [&](const Record& record) { return record.parent != parent; });
    return children;
  }

  absl::StatusOr<std::vector<StoredEvent>> Events(std::string_view stream, int64_t after,
                                                  int limit) override {
    engine::MutexLock lock(mutex_);
    std::vector<StoredEvent> events;
    for (const StoredEvent& event : contents_.events) {
      if (event.stream == stream && event.id > after && std::ssize(events) < limit) {
        events.push_back(event);
      }
    }
    return events;
  }

  absl::Status Beat(std::string_view key, std::string_view value) override {
    engine::MutexLock lock(mutex_);
    heartbeats_[std::string(key)] = {std::string(key), now(), std::string(value)};
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<Heartbeat>> Heartbeats() override {
    engine::MutexLock lock(mutex_);
    std::vector<Heartbeat> beats;
    for (const auto& [key, beat] : heartbeats_) beats.push_back(beat);
    return beats;
  }
  absl::Status EndBeat(std::string_view key) override {
    engine::MutexLock lock(mutex_);
    heartbeats_.erase(std::string(key));
    return absl::OkStatus();
  }

 private:
  struct Contents {
    std::array<std::map<std::string, Record>, kCollectionCount> records;
    std::array<int64_t, kCollectionCount> last_number = {};
    std::vector<StoredEvent> events;
    int64_t last_event = 0;
  };

  static absl::Status NotFound(Collection collection, std::string_view key) {
    return absl::NotFoundError(
        absl::StrCat(static_cast<int>(collection), ": no record ", engine::Quoted(key)));
  }

  // Returns the record to change, or null with a status.
  static absl::StatusOr<Record*> Find(Collection collection, const std::string& key,
                                      int64_t revision, Contents& contents) {
    auto& records = contents.records[static_cast<int>(collection)];
    const auto found = records.find(key);
    if (found == records.end()) return NotFound(collection, key);
    if (revision != 0 && revision != found->second.revision) {
      return absl::AbortedError(absl::StrCat(key, ": revision ", found->second.revision, " seen"));
    }
    return &found->second;
  }

  absl::Status Apply(const CreateRecord& part, Contents& contents, Committed& committed) const {
    const int collection = static_cast<int>(part.collection);
    const WallTime time = now();
    const auto [record, is_new] = contents.records[collection].try_emplace(part.key);
    if (!is_new) return absl::AlreadyExistsError(part.key);
    record->second = {part.key, part.parent, ++contents.last_number[collection], 1, part.value,
                      time,     time};
    committed.records.push_back(record->second);
    return absl::OkStatus();
  }
  absl::Status Apply(const UpdateRecord& part, Contents& contents, Committed& committed) const {
    ASSIGN_OR_RETURN(Record* const record,
                     Find(part.collection, part.key, part.revision, contents));
    record->value = part.value;
    record->update_time = now();
    ++record->revision;
    committed.records.push_back(*record);
    return absl::OkStatus();
  }
  absl::Status Apply(const DeleteRecord& part, Contents& contents, Committed&) const {
    RETURN_IF_ERROR(Find(part.collection, part.key, part.revision, contents).status());
    contents.records[static_cast<int>(part.collection)].erase(part.key);
    return absl::OkStatus();
  }
  absl::Status Apply(const DeleteChildren& part, Contents& contents, Committed&) const {
    std::erase_if(contents.records[static_cast<int>(part.collection)],
                  [&](const auto& entry) { return entry.second.parent == part.parent; });
    return absl::OkStatus();
  }
  absl::Status Apply(const AppendEvent& part, Contents& contents, Committed& committed) const {
    contents.events.push_back({++contents.last_event, part.stream, now(), part.value});
    committed.events.push_back(contents.events.back());
    return absl::OkStatus();
  }
  absl::Status Apply(const DeleteEvents& part, Contents& contents, Committed&) const {
    std::erase_if(contents.events,
                  [&](const StoredEvent& event) { return event.stream == part.stream; });
    return absl::OkStatus();
  }

  std::vector<Record> Sorted(Collection collection) {
    engine::MutexLock lock(mutex_);
    std::vector<Record> records;
    for (const auto& [key, record] : contents_.records[static_cast<int>(collection)]) {
      records.push_back(record);
    }
    std::ranges::sort(records, {}, &Record::number);
    return records;
  }

  engine::Mutex mutex_;
  Contents contents_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Heartbeat> heartbeats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_FAKE_STORE_H_
