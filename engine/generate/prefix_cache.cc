#include "engine/generate/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace whipsnake::engine {
namespace {

// Returns the hash of a sequence that continues one of this hash with `token`. The hashes of all
// prefixes come with that of the whole.
uint64_t ExtendHash(uint64_t hash, int32_t token) { return absl::HashOf(hash, token); }

// A rewindable state is also indexed by its prefixes of every multiple of this many tokens.
constexpr int64_t kIndexStride = 32;

int64_t TokenBytes(std::span<const int32_t> tokens) {
  return static_cast<int64_t>(tokens.size_bytes());
}

}  // namespace

PrefixCache::Match PrefixCache::Find(std::span<const int32_t> tokens) {
  MutexLock lock(mutex_);
  auto best = entries_.end();
  uint64_t hash = 0;
  int64_t hashed = 0, length = 0;
  const int64_t max_length = std::ssize(tokens) - 1;
  for (const auto& [candidate, count] : length_counts_) {
    if (candidate > max_length) break;
    while (hashed < candidate) hash = ExtendHash(hash, tokens[hashed++]);
    const auto found = FindByPrefix(hash, tokens.first(candidate));
    if (found == entries_.end()) continue;
    best = found;
    length = candidate;
  }
  if (best == entries_.end()) return {};
  entries_.splice(entries_.begin(), entries_, best);
  if (best->state->rewindable()) {
    const int64_t end = std::min(max_length, std::ssize(best->tokens));
    while (length < end && best->tokens[length] == tokens[length]) ++length;
  }
  return {best->state, length};
}

void PrefixCache::Insert(std::span<const int32_t> tokens, std::shared_ptr<const State> state) {
  if (tokens.empty() || state->bytes() + TokenBytes(tokens) > options_.max_bytes) return;
  const int64_t length = std::ssize(tokens);
  Entry entry{{tokens.begin(), tokens.end()}, std::move(state), {}};
  uint64_t hash = 0;
  for (int64_t i = 0; i < length; ++i) {
    if (i > 0 && i % kIndexStride == 0 && entry.state->rewindable()) {
      entry.prefixes.push_back({i, hash});
    }
    hash = ExtendHash(hash, tokens[i]);
  }
  entry.prefixes.push_back({length, hash});
  MutexLock lock(mutex_);
  if (const auto found = FindByPrefix(hash, tokens); found != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, found);
    return;
  }
  entries_.push_front(std::move(entry));
  Count(entries_.front());
  for (const Prefix& prefix : entries_.front().prefixes) {
    by_hash_.emplace(prefix.hash, entries_.begin());
    ++length_counts_[prefix.length];
  }
  while (bytes_ > options_.max_bytes) Evict();
}

void PrefixCache::Count(const Entry& entry) {
  ++count_;
  bytes_ += TokenBytes(entry.tokens);
  std::vector<MemoryPiece> pieces;
  entry.state->AppendMemory(pieces);
  for (const MemoryPiece& piece : pieces) {
    if (++reference_counts_[piece.address] == 1) bytes_ += piece.bytes;
  }
}

void PrefixCache::Uncount(const Entry& entry) {
  --count_;
  bytes_ -= TokenBytes(entry.tokens);
  std::vector<MemoryPiece> pieces;
  entry.state->AppendMemory(pieces);
  for (const MemoryPiece& piece : pieces) {
    const auto references = reference_counts_.find(piece.address);
    if (--references->second > 0) continue;
    reference_counts_.erase(references);
    bytes_ -= piece.bytes;
  }
}

int64_t PrefixCache::Reclaim(int64_t bytes) {
  MutexLock lock(mutex_);
  const int64_t before = bytes_;
  while (!entries_.empty() && before - bytes_ < bytes) Evict();
  return before - bytes_;
}

PrefixCache::Entries::iterator PrefixCache::FindByPrefix(uint64_t hash,
                                                         std::span<const int32_t> tokens) {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto found = begin; found != end; ++found) {
    const std::vector<int32_t>& kept = found->second->tokens;
    if (kept.size() < tokens.size() || !std::equal(tokens.begin(), tokens.end(), kept.begin())) {
      continue;
    }
    if (kept.size() == tokens.size() || found->second->state->rewindable()) return found->second;
  }
  return entries_.end();
}

void PrefixCache::Evict() {
  const auto last = std::prev(entries_.end());
  for (const Prefix& prefix : last->prefixes) {
    const auto [begin, end] = by_hash_.equal_range(prefix.hash);
    by_hash_.erase(std::find_if(begin, end, [&](const auto& item) { return item.second == last; }));
    const auto length = length_counts_.find(prefix.length);
    if (--length->second == 0) length_counts_.erase(length);
  }
  Uncount(*last);
  entries_.erase(last);
}

}  // namespace whipsnake::engine
