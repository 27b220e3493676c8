#include "tests/server/store_model.h"

#include <algorithm>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

std::string Escaped(std::string_view text) {
  return "\"" + absl::CHexEscape(engine::ToAbsl(text)) + "\"";
}

std::string Text(WallTime time) { return absl::StrCat(time.time_since_epoch().count()); }

std::string Text(const Record& record) {
  return absl::StrCat("[", record.number, " ", Escaped(record.key), " of ", Escaped(record.parent),
                      ", revision ", record.revision, ": ", Escaped(record.value), ", created ",
                      Text(record.create_time), ", updated ", Text(record.update_time), "]");
}

std::string Text(const StoredEvent& event) {
  return absl::StrCat("[", event.id, " in ", Escaped(event.stream), " at ", Text(event.time), ": ",
                      Escaped(event.value), "]");
}

std::string Text(const Heartbeat& beat) {
  return absl::StrCat("[", Escaped(beat.key), " at ", Text(beat.time), ": ", Escaped(beat.value),
                      "]");
}

template <typename Items>
std::string TextOfAll(const Items& items) {
  std::string text;
  for (const auto& item : items) text += Text(item);
  return text;
}

std::string Label(std::string_view function, Collection collection, std::string_view name) {
  return absl::StrCat(engine::ToAbsl(function), " ", engine::ToAbsl(Name(collection)), " ",
                      Escaped(name));
}

// The items in the order of their numbers.
std::vector<Record> Sorted(std::vector<Record> records) {
  std::ranges::sort(records, {}, &Record::number);
  return records;
}

// Reads all pages; `read` returns those after an item, `position` the number of an item.
template <typename Item, typename Read>
absl::StatusOr<std::vector<Item>> ReadPages(int page_size, const Read& read,
                                            int64_t Item::*position) {
  std::vector<Item> all;
  while (true) {
    ASSIGN_OR_RETURN(std::vector<Item> page, read(all.empty() ? 0 : all.back().*position));
    if (static_cast<int>(page.size()) > page_size) return absl::InternalError("page too long");
    if (page.empty()) return all;
    all.insert(all.end(), page.begin(), page.end());
  }
}

size_t Below(std::mt19937_64& random, size_t limit) { return random() % limit; }

template <typename Item>
const Item& OneOf(std::mt19937_64& random, const std::vector<Item>& items) {
  return items[Below(random, items.size())];
}

std::string RandomValue(std::mt19937_64& random) {
  std::string value(Below(random, 8) == 0 ? Below(random, 20'000) : Below(random, 30), ' ');
  for (char& byte : value) byte = static_cast<char>(Below(random, 128));
  return value + "é";
}

}  // namespace

const std::vector<Collection>& AllCollections() {
  static const std::vector<Collection> all = [] {
    std::vector<Collection> collections;
    for (int i = 0; i < kCollectionCount; ++i) collections.push_back(static_cast<Collection>(i));
    return collections;
  }();
  return all;
}

const std::vector<std::string>& RandomNames() {
  using std::string_literals::operator""s;
  static const std::vector<std::string> names = {"",   "a",       "A",   "a\0"s,
                                                 "ab", "a\0b"s,   "ä€𐍈", "job-17",
                                                 "%_", "x' OR 1", "\0"s, std::string(300, 'z')};
  return names;
}

absl::StatusOr<Contents> ReadContents(Store& store, int page_size) {
  Contents contents;
  for (const Collection collection : AllCollections()) {
    const auto read = [&](int64_t after) { return store.List(collection, after, page_size); };
    ASSIGN_OR_RETURN(const auto all, ReadPages<Record>(page_size, read, &Record::number));
    contents[Label("List", collection, "")] = TextOfAll(all);
    for (const std::string& name : RandomNames()) {
      ASSIGN_OR_RETURN(const auto children, store.Children(collection, name));
      contents[Label("Children", collection, name)] = TextOfAll(children);
      const auto record = store.Get(collection, name);
      if (!record.ok() && !absl::IsNotFound(record.status())) return record.status();
      contents[Label("Get", collection, name)] = record.ok() ? Text(*record) : "";
    }
  }
  for (const std::string& name : RandomNames()) {
    const auto read = [&](int64_t after) { return store.Events(name, after, page_size); };
    ASSIGN_OR_RETURN(const auto events, ReadPages<StoredEvent>(page_size, read, &StoredEvent::id));
    contents[absl::StrCat("Events ", Escaped(name))] = TextOfAll(events);
  }
  return contents;
}

Contents StoreModel::contents() const {
  Contents contents;
  for (const Collection collection : AllCollections()) {
    std::vector<Record> all;
    for (const auto& [id, record] : state_.records) {
      if (id.first == collection) all.push_back(record);
    }
    all = Sorted(std::move(all));
    contents[Label("List", collection, "")] = TextOfAll(all);
    for (const std::string& name : RandomNames()) {
      std::string& children = contents[Label("Children", collection, name)];
      std::string& named = contents[Label("Get", collection, name)];
      for (const Record& record : all) {
        if (record.parent == name) children += Text(record);
        if (record.key == name) named += Text(record);
      }
    }
  }
  for (const std::string& name : RandomNames()) {
    std::string& events = contents[absl::StrCat("Events ", Escaped(name))];
    for (const StoredEvent& event : state_.events) {
      if (event.stream == name) events += Text(event);
    }
  }
  return contents;
}

// One commit: the state that it makes, and what it returns.
struct StoreModel::Replay {
  State state;
  WallTime now;
  const Committed* actual;  // for its numbers; null if the commit has failed
  Committed expected;

  absl::StatusCode Apply(const CreateRecord& write) {
    Record record{.key = write.key,
                  .parent = write.parent,
                  .revision = 1,
                  .value = write.value,
                  .create_time = now,
                  .update_time = now};
    const size_t index = expected.records.size();
    if (actual != nullptr && index < actual->records.size()) {
      record.number = actual->records[index].number;
    }
    if (!state.records.emplace(std::pair(write.collection, write.key), record).second) {
      return absl::StatusCode::kAlreadyExists;
    }
    expected.records.push_back(record);
    return absl::StatusCode::kOk;
  }
  absl::StatusCode Check(Collection collection, const std::string& key, int64_t revision) {
    const auto found = state.records.find({collection, key});
    if (found == state.records.end()) return absl::StatusCode::kNotFound;
    const bool matches = revision == 0 || revision == found->second.revision;
    return matches ? absl::StatusCode::kOk : absl::StatusCode::kAborted;
  }
  absl::StatusCode Apply(const UpdateRecord& write) {
    const absl::StatusCode code = Check(write.collection, write.key, write.revision);
    if (code != absl::StatusCode::kOk) return code;
    Record& record = state.records.at({write.collection, write.key});
    ++record.revision;
    record.value = write.value;
    record.update_time = now;
    expected.records.push_back(record);
    return code;
  }
  absl::StatusCode Apply(const DeleteRecord& write) {
    const absl::StatusCode code = Check(write.collection, write.key, write.revision);
    if (code == absl::StatusCode::kOk) state.records.erase({write.collection, write.key});
    return code;
  }
  absl::StatusCode Apply(const DeleteChildren& write) {
    std::erase_if(state.records, [&](const auto& entry) {
      return entry.first.first == write.collection && entry.second.parent == write.parent;
    });
    return absl::StatusCode::kOk;
  }
  absl::StatusCode Apply(const AppendEvent& write) {
    StoredEvent event{.stream = write.stream, .time = now, .value = write.value};
    const size_t index = expected.events.size();
    if (actual != nullptr && index < actual->events.size()) event.id = actual->events[index].id;
    state.events.push_back(event);
    expected.events.push_back(event);
    return absl::StatusCode::kOk;
  }
  absl::StatusCode Apply(const DeleteEvents& write) {
    std::erase_if(state.events, [&](const auto& event) { return event.stream == write.stream; });
    return absl::StatusCode::kOk;
  }

  absl::StatusCode ApplyAll(std::span<const Write> writes) {
    for (const Write& write : writes) {
      const auto code = std::visit([&](const auto& part) { return Apply(part); }, write);
      if (code != absl::StatusCode::kOk) return code;
    }
    return absl::StatusCode::kOk;
  }
};

std::string StoreModel::Commit(std::span<const Write> writes, WallTime now,
                               const absl::StatusOr<Committed>& actual) {
  Replay replay{
      .state = state_, .now = now, .actual = actual.ok() ? &*actual : nullptr, .expected = {}};
  const absl::StatusCode code = replay.ApplyAll(writes);
  if (code != actual.status().code()) {
    return absl::StrCat(absl::StatusCodeToString(code), " expected, ", actual.status().ToString(),
                        " seen");
  }
  if (!actual.ok()) return "";
  const std::string expected =
      TextOfAll(replay.expected.records) + TextOfAll(replay.expected.events);
  const std::string seen = TextOfAll(actual->records) + TextOfAll(actual->events);
  if (expected != seen) return absl::StrCat(expected, " expected, ", seen, " seen");

  size_t index = 0;  // of the records
  for (const Write& write : writes) {
    if (const auto* create = std::get_if<CreateRecord>(&write)) {
      int64_t& last = last_number_[create->collection];
      const int64_t number = actual->records[index].number;
      if (number <= last) return absl::StrCat("number ", number, " after ", last);
      last = number;
    }
    index +=
        std::holds_alternative<CreateRecord>(write) || std::holds_alternative<UpdateRecord>(write);
  }
  for (const StoredEvent& event : actual->events) {
    if (event.id <= last_event_) return absl::StrCat("event ", event.id, " after ", last_event_);
    last_event_ = event.id;
  }
  state_ = std::move(replay.state);
  return "";
}

std::vector<Write> StoreModel::RandomWrites(std::mt19937_64& random) const {
  std::vector<Write> writes;
  const size_t count = Below(random, 4) == 0 ? Below(random, 12) : 1;
  while (writes.size() < count) {
    const Collection collection = OneOf(random, AllCollections());
    const std::string& key = OneOf(random, RandomNames());
    const std::string& parent = OneOf(random, RandomNames());
    const auto found = state_.records.find({collection, key});
    // Mostly writes that succeed.
    const bool exists = found != state_.records.end();
    if (Below(random, 30) != 0 && exists != (Below(random, 3) != 0)) continue;
    int64_t revision = 0;
    if (exists && Below(random, 2) == 0) revision = found->second.revision;
    if (Below(random, 20) == 0) revision = 1 + static_cast<int64_t>(Below(random, 5));
    switch (Below(random, 12)) {
      case 0:
        writes.push_back(DeleteRecord{collection, key, revision});
        break;
      case 1:
        writes.push_back(DeleteChildren{collection, parent});
        break;
      case 2:
        writes.push_back(DeleteEvents{parent});
        break;
      case 3:
      case 4:
        writes.push_back(AppendEvent{parent, RandomValue(random)});
        break;
      default:
        if (exists == (Below(random, 30) != 0)) {
          writes.push_back(UpdateRecord{collection, key, RandomValue(random), revision});
        } else {
          writes.push_back(CreateRecord{collection, key, parent, RandomValue(random)});
        }
    }
  }
  return writes;
}

void HeartbeatModel::Beat(const std::string& key, const std::string& value, WallTime time) {
  auto& history = since_.try_emplace(key, 1, "").first->second;
  history.push_back(Text(Heartbeat{.key = key, .time = time, .value = value}));
}

void HeartbeatModel::End(const std::string& key) {
  const auto found = since_.find(key);
  if (found != since_.end()) found->second.push_back("");
}

void HeartbeatModel::Committed() {
  for (auto& [key, history] : since_) history.erase(history.begin(), history.end() - 1);
}

std::string HeartbeatModel::Check(const std::vector<Heartbeat>& actual) const {
  std::string expected;
  for (const auto& [key, history] : since_) expected += history.back();
  const std::string seen = TextOfAll(actual);
  return expected == seen ? "" : absl::StrCat(expected, " expected, ", seen, " seen");
}

std::string HeartbeatModel::CheckAfterCrash(const std::vector<Heartbeat>& actual) {
  std::map<std::string, std::string> seen;
  for (const Heartbeat& beat : actual) seen[beat.key] = Text(beat);
  for (const auto& [key, beat] : seen) {
    if (!since_.contains(key)) return beat + " was never there";
  }
  for (auto& [key, history] : since_) {
    if (std::ranges::find(history, seen[key]) == history.end()) {
      return absl::StrCat("heartbeat \"", seen[key], "\" seen, older than ", history.front());
    }
    history = {seen[key]};
  }
  return "";
}

}  // namespace whipsnake::server
