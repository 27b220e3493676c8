#include "server/store/heartbeats.h"

#include <utility>

namespace whipsnake::server {

HeartbeatBook::HeartbeatBook(std::vector<Heartbeat> saved) {
  for (Heartbeat& beat : saved) {
    std::string key = beat.key;
    beats_.insert_or_assign(std::move(key), std::move(beat));
  }
}

void HeartbeatBook::Beat(Heartbeat beat) {
  std::string key = beat.key;
  engine::MutexLock lock(mutex_);
  changed_.insert_or_assign(key, ++changes_);
  beats_.insert_or_assign(std::move(key), std::move(beat));
}

void HeartbeatBook::End(std::string_view key) {
  engine::MutexLock lock(mutex_);
  const auto found = beats_.find(key);
  if (found == beats_.end()) return;
  changed_.insert_or_assign(found->first, ++changes_);
  beats_.erase(found);
}

std::vector<Heartbeat> HeartbeatBook::All() const {
  engine::MutexLock lock(mutex_);
  std::vector<Heartbeat> all;
  all.reserve(beats_.size());
  for (const auto& [key, beat] : beats_) all.push_back(beat);
  return all;
}

HeartbeatBook::Unsaved HeartbeatBook::unsaved() const {
  engine::MutexLock lock(mutex_);
  Unsaved unsaved;
  unsaved.changes = changes_;
  for (const auto& [key, change] : changed_) {
    const auto found = beats_.find(key);
    if (found == beats_.end()) {
      unsaved.ended.push_back(key);
    } else {
      unsaved.beats.push_back(found->second);
    }
  }
  return unsaved;
}

void HeartbeatBook::MarkSaved(const Unsaved& saved) {
  engine::MutexLock lock(mutex_);
  std::erase_if(changed_, [&](const auto& entry) { return entry.second <= saved.changes; });
}

}  // namespace whipsnake::server
