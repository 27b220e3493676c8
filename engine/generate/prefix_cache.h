// States of sequences that have been computed, by their tokens, so that a request that begins as
// another one did starts from where they part.
//
// A recurrent state cannot be rolled back: one that has seen a token too many is of no use. So
// states are kept every so many tokens and at the end of each sequence, where the next turn of a
// conversation begins. A rewindable one is of use wherever the sequences part. Bounded in bytes, of
// which those that states share count once; what was not used for longest goes first.
#ifndef WHIPSNAKE_ENGINE_GENERATE_PREFIX_CACHE_H_
#define WHIPSNAKE_ENGINE_GENERATE_PREFIX_CACHE_H_

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
  int64_t interval_tokens = 512;           // a state is kept about this often
};

// Thread-safe.
class PrefixCache : public Reclaimer {
 public:
  explicit PrefixCache(const PrefixCacheOptions& options) : options_(options) {}

  const PrefixCacheOptions& options() const { return options_; }

  // The state that has seen the longest kept beginning of `tokens`, shorter than they are, and its
  // length: less than the state's position only where that is rewindable. Null if there is none.
  struct Found {
    std::shared_ptr<const State> state;
    int64_t length = 0;
  };
  Found Find(std::span<const int32_t> tokens);

  // Keeps a state that has seen `tokens`, if there is room for it.
  void Insert(std::span<const int32_t> tokens, std::shared_ptr<const State> state);

  int64_t Reclaim(int64_t bytes) override;

  int64_t bytes() const;
  int64_t entries() const;

 private:
  struct Beginning {
    int64_t length;
    uint64_t hash;
  };
  struct Entry {
    std::vector<int32_t> tokens;
    std::shared_ptr<const State> state;
    std::vector<Beginning> beginnings;  // that it is found by
  };
  using Entries = std::list<Entry>;

  // One that begins with `tokens`, and is found by as much; or the end.
  Entries::iterator FindBeginning(uint64_t hash, std::span<const int32_t> tokens)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Evict() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // the last
  // Counts what the entry holds and no other does.
  void Count(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Uncount(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const PrefixCacheOptions options_;
  mutable Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);  // used last comes first
  std::unordered_multimap<uint64_t, Entries::iterator> by_hash_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, int64_t> lengths_
      ABSL_GUARDED_BY(mutex_);  // of the beginnings: how many have each
  std::unordered_map<const std::byte*, int64_t> holders_
      ABSL_GUARDED_BY(mutex_);  // of each piece of memory
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_PREFIX_CACHE_H_
