#include "engine/structured/constraint_cache.h"

#include <algorithm>

#include "engine/base/status.h"

namespace whipsnake::engine {

ConstraintCache::ConstraintCache(std::shared_ptr<const VocabularyTrie> vocabulary,
                                 const ConstraintCacheOptions& options)
    : vocabulary_(std::move(vocabulary)),
      options_(options),
      memory_(std::make_shared<ConstraintMemory>(options.max_bytes, options.ledger)) {
  memory_->shared.Register(this);
  if (options_.ledger != nullptr) options_.ledger->Register(this);
}

ConstraintCache::~ConstraintCache() {
  if (options_.ledger != nullptr) options_.ledger->Unregister(this);
  memory_->shared.Unregister(this);
}

std::shared_ptr<Constraint> ConstraintCache::FindLocked(const ConstraintSpec& spec) {
  const auto found = std::ranges::find(entries_, spec, &Entry::first);
  if (found == entries_.end()) return nullptr;
  std::rotate(entries_.begin(), found, found + 1);
  return entries_.front().second;
}

std::shared_ptr<Constraint> ConstraintCache::Find(const ConstraintSpec& spec) {
  MutexLock lock(mutex_);
  return FindLocked(spec);
}

absl::StatusOr<std::shared_ptr<Constraint>> ConstraintCache::GetOrCompile(
    const ConstraintSpec& spec) {
  if (auto constraint = Find(spec)) return constraint;
  // Compile without holding the lock: it may take long, and must not block other calls.
  ASSIGN_OR_RETURN(std::shared_ptr<Constraint> constraint,
                   Constraint::Compile(spec, vocabulary_, options_.limits, memory_));
  std::vector<Entry> dropped;  // destroyed after the lock is released
  MutexLock lock(mutex_);
  if (auto other = FindLocked(spec)) return other;
  entries_.insert(entries_.begin(), {spec, constraint});
  while (entries_.size() > options_.max_entries) {
    dropped.push_back(std::move(entries_.back()));
    entries_.pop_back();
  }
  return constraint;
}

int64_t ConstraintCache::Reclaim(int64_t bytes) {
  std::vector<Entry> dropped;
  int64_t freed = 0;
  MutexLock lock(mutex_);
  for (size_t i = entries_.size(); i-- > 0 && freed < bytes;) {
    if (entries_[i].second.use_count() > 1) continue;
    freed += entries_[i].second->memory_bytes();
    dropped.push_back(std::move(entries_[i]));
    entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(i));
  }
  return freed;
}

}  // namespace whipsnake::engine
