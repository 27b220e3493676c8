// A cache of computed sequence states, by their tokens. A request that begins like an earlier
// sequence starts from the cached state instead of computing it again.
//
// A recurrent state cannot be rolled back: a state that has seen one token too many is useless.
// States are therefore kept at intervals and at the end of each sequence, where the next turn of a
// conversation begins. A rewindable state can be used up to the point where the sequences diverge.
// The cache is bounded in bytes; memory that states share counts once. The least recently used
// entry is evicted first.
#ifndef WHIPSNAKE_ENGINE_GENERATE_PREFIX_CACHE_H_
#define WHIPSNAKE_ENGINE_GENERATE_PREFIX_CACHE_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

struct PrefixCacheOptions {
  int64_t max_bytes = int64_t{512} << 20;  // states and their tokens; 0: keep nothing
  int64_t interval_tokens = 512;           // tokens between kept states, roughly
};

// Thread-safe.
class PrefixCache : public Reclaimer {
 public:
  explicit PrefixCache(const PrefixCacheOptions& options) : options_(options) {}

  const PrefixCacheOptions& options() const { return options_; }

  // The state for the longest cached prefix of `tokens`, shorter than `tokens`, and the length of
  // that prefix. The length is less than the state's position only if the state is rewindable. Null
  // if there is none.
  struct Match {
    std::shared_ptr<const State> state;
    int64_t length = 0;
  };
  Match Find(std::span<const int32_t> tokens);

  // Keeps a state that has seen `tokens`, evicting others if necessary, unless it alone exceeds
  // max_bytes.
  void Insert(std::span<const int32_t> tokens, std::shared_ptr<const State> state);

  int64_t Reclaim(int64_t bytes) override;

  // Take no lock.
  int64_t bytes() const { return bytes_; }
  int64_t entries() const { return count_; }

 private:
  struct Prefix {
    int64_t length;
    uint64_t hash;
  };
  struct Entry {
    std::vector<int32_t> tokens;
    std::shared_ptr<const State> state;
    std::vector<Prefix> prefixes;  // the prefixes that it is indexed by
  };
  using Entries = std::list<Entry>;

  // An entry that begins with `tokens`, is indexed by `hash` and has a state usable at that length;
  // entries_.end() if there is none.
  Entries::iterator FindByPrefix(uint64_t hash, std::span<const int32_t> tokens)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Evict() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // the least recently used entry
  // Add to and subtract from count_ and bytes_ an entry: its tokens, and the memory that no other
  // entry holds.
  void Count(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Uncount(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const PrefixCacheOptions options_;
  mutable Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  std::unordered_multimap<uint64_t, Entries::iterator> by_hash_ ABSL_GUARDED_BY(mutex_);
  // How many indexed prefixes have each length.
  std::map<int64_t, int64_t> length_counts_ ABSL_GUARDED_BY(mutex_);
  // How many entries hold each piece of memory.
  std::unordered_map<const void*, int64_t> reference_counts_ ABSL_GUARDED_BY(mutex_);
  // Change under the lock.
  std::atomic<int64_t> bytes_ = 0, count_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_PREFIX_CACHE_H_
