// A cache of the most recently used constraints of one vocabulary.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_CACHE_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_CACHE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/structured/constraint.h"

namespace whipsnake::engine {

struct ConstraintCacheOptions {
  size_t max_entries = 64;
  int64_t max_bytes = int64_t{256} << 20;  // of all live constraints, in the cache or not
  ConstraintLimits limits;
  Ledger* ledger = nullptr;  // may be null; must outlive the cache and its constraints
};

// Thread-safe. Releases constraints that no request uses if others need their memory.
class ConstraintCache : public Reclaimer {
 public:
  explicit ConstraintCache(std::shared_ptr<const VocabularyTrie> vocabulary,
                           const ConstraintCacheOptions& options = {});
  ~ConstraintCache() override;

  // Returns the constraint if it is cached, else null.
  std::shared_ptr<Constraint> Find(const ConstraintSpec& spec);
  // Like Find, but compiles the constraint if it is not cached, with the errors of
  // Constraint::Compile. Calls for other specifications do not wait for that.
  absl::StatusOr<std::shared_ptr<Constraint>> GetOrCompile(const ConstraintSpec& spec);

  int64_t Reclaim(int64_t bytes) override;

 private:
  using Entry = std::pair<ConstraintSpec, std::shared_ptr<Constraint>>;

  std::shared_ptr<Constraint> FindLocked(const ConstraintSpec& spec)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<const VocabularyTrie> vocabulary_;
  const ConstraintCacheOptions options_;
  const std::shared_ptr<ConstraintMemory> memory_;
  Mutex mutex_;  // never held while waiting for a constraint's mutex
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // most recently used first
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_CACHE_H_
