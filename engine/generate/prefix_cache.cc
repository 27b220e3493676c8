#include "engine/generate/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace whipsnake::engine {
namespace {

// Of a run of tokens, one token at a time: the hashes of all beginnings come with that of the
// whole. FNV-1a with the token in place of a byte, and its high half folded in, as the low bits
// alone would depend on low bits alone.
class RunningHash {
 public:
  void Add(int32_t token) {
    hash_ = (hash_ ^ static_cast<uint32_t>(token)) * 0x100000001b3u;
    hash_ ^= hash_ >> 32;
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

uint64_t HashOf(std::span<const int32_t> tokens) {
  RunningHash hash;
  for (const int32_t token : tokens) hash.Add(token);
  return hash.value();
}

}  // namespace

std::shared_ptr<const State> PrefixCache::Find(std::span<const int32_t> tokens) {
  std::lock_guard lock(mutex_);
  auto best = entries_.end();
  RunningHash hash;
  int64_t hashed = 0;
  for (const auto& [length, count] : lengths_) {
    if (length >= std::ssize(tokens)) break;
    while (hashed < length) hash.Add(tokens[hashed++]);
    const auto found = FindExact(hash.value(), tokens.first(length));
    if (found != entries_.end()) best = found;
  }
  if (best == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, best);
  return best->state;
}

void PrefixCache::Insert(std::span<const int32_t> tokens, std::shared_ptr<const State> state) {
  const uint64_t hash = HashOf(tokens);
  Entry entry{hash, {tokens.begin(), tokens.end()}, std::move(state)};
  const int64_t bytes = entry.bytes();
  if (tokens.empty() || bytes > options_.max_bytes) return;
  std::lock_guard lock(mutex_);
  if (const auto found = FindExact(hash, tokens); found != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, found);
    return;
  }
  while (bytes_ + bytes > options_.max_bytes) Evict();
  entries_.push_front(std::move(entry));
  by_hash_.emplace(hash, entries_.begin());
  ++lengths_[std::ssize(tokens)];
  bytes_ += bytes;
}

int64_t PrefixCache::Reclaim(int64_t bytes) {
  std::lock_guard lock(mutex_);
  const int64_t before = bytes_;
  while (!entries_.empty() && before - bytes_ < bytes) Evict();
  return before - bytes_;
}

int64_t PrefixCache::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

int64_t PrefixCache::entries() const {
  std::lock_guard lock(mutex_);
  return std::ssize(entries_);
}

PrefixCache::Entries::iterator PrefixCache::FindExact(uint64_t hash,
                                                      std::span<const int32_t> tokens) {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto found = begin; found != end; ++found) {
    if (std::ranges::equal(found->second->tokens, tokens)) return found->second;
  }
  return entries_.end();
}

void PrefixCache::Evict() {
  const auto last = std::prev(entries_.end());
  const auto [begin, end] = by_hash_.equal_range(last->hash);
  by_hash_.erase(std::find_if(begin, end, [&](const auto& item) { return item.second == last; }));
  const auto length = lengths_.find(std::ssize(last->tokens));
  if (--length->second == 0) lengths_.erase(length);
  bytes_ -= last->bytes();
  entries_.erase(last);
}

}  // namespace whipsnake::engine
