// A compiled constraint on an output. It finds the tokens that are allowed next.
//
// The grammar is over bytes, and a token is allowed if its bytes lead to a state from which the
// text can still be completed. The set of allowed tokens, a mask, is found by walking the
// vocabulary's trie through the automaton, once per state. Masks per state are an idea of Outlines
// (Willard & Louf, arXiv 2307.09702).
//
// Near the end of the token budget, only those tokens stay allowed after which the shortest text
// that completes the output still fits. So an output that begins with enough budget is always
// complete.
//
// Masks and states are kept for later outputs, up to a limit. Beyond it all are dropped, masks
// first, and computed again when needed: a Cursor holds the text, which determines its state.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/structured/automaton.h"
#include "engine/structured/vocabulary_trie.h"

namespace whipsnake::engine {

inline constexpr size_t kMaxSpecBytes = 64 << 10;  // total size of a specification's texts

struct ConstraintSpec {
  enum class Kind { kRegex, kChoices, kJsonSchema };
  Kind kind = Kind::kRegex;
  std::vector<std::string> texts;  // one; for kChoices, one per choice

  size_t bytes() const;

  bool operator==(const ConstraintSpec&) const = default;
};

struct ConstraintLimits {
  int64_t max_bytes = int64_t{64} << 20;  // for one constraint: its grammar, states and masks
  // Work is counted in steps of derivatives and expressions of states, some tens of nanoseconds
  // each.
  int64_t max_work = int64_t{1} << 26;    // to find the next tokens in one place
  int64_t slice_work = int64_t{1} << 17;  // per call of Find
};

// The ledgers in which the memory of constraints is booked: `shared` limits all of them, and
// `process`, which may be null, is that of the process.
struct ConstraintMemory {
  explicit ConstraintMemory(int64_t max_bytes, Ledger* process_ledger)
      : shared(max_bytes), process(process_ledger) {}

  Ledger shared;
  Ledger* const process;
};

// Bit i % 64 of word i / 64 stands for token i.
using TokenMask = std::vector<uint64_t>;

struct NextTokens {
  TokenMask allowed;      // [vocabulary]; no bit is set if nothing can follow
  TokenMask last;         // the allowed tokens that nothing can follow; empty if none
  bool complete = false;  // whether the output may end here
};

inline bool Contains(const TokenMask& mask, int32_t token) {
  const size_t word = static_cast<size_t>(token) / 64;
  return word < mask.size() && (mask[word] >> (token % 64) & 1) != 0;
}

// Thread-safe: shared by all sequences with the same constraint.
class Constraint {
 public:
  class Cursor;

  // Compiles `spec` and finds the first tokens. Returns INVALID_ARGUMENT with the field ("regex",
  // "choices[3]", "json_schema.properties.age.minimum") if the specification is malformed, not
  // supported, too large, or admits no text, and RESOURCE_EXHAUSTED if it needs more memory or work
  // than is allowed. `memory` may be null.
  static absl::StatusOr<std::shared_ptr<Constraint>> Compile(
      const ConstraintSpec& spec, std::shared_ptr<const VocabularyTrie> vocabulary,
      const ConstraintLimits& limits = {}, std::shared_ptr<ConstraintMemory> memory = nullptr);

  // The number of tokens of the shortest output, as the budget counts them.
  int64_t shortest_tokens() const { return shortest_tokens_; }

  // What the specification has that does not limit the output, each with its field; a bounded
  // number.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Moves `cursor` past `token`, which must be allowed there.
  void Advance(Cursor& cursor, int32_t token) const;

  // Returns the tokens that are allowed next if `tokens_left` tokens, including the next one, may
  // still be generated. Returns null if finding them takes more than a slice of work; call it again
  // to continue. Returns RESOURCE_EXHAUSTED, naming the field, if it takes more memory or work than
  // is allowed, or more memory than the system has. May wait for another call of Find, but no
  // longer than its slice.
  absl::StatusOr<std::shared_ptr<const NextTokens>> Find(Cursor& cursor, int64_t tokens_left);

  // Like Find, but only if the result is already known, which takes microseconds. Returns null if
  // it is not, or if another call is in progress.
  std::shared_ptr<const NextTokens> FindIfKnown(Cursor& cursor, int64_t tokens_left);

  // Bytes that are booked for this constraint.
  int64_t memory_bytes() const { return booked_.load(std::memory_order_relaxed); }

 private:
  using State = Automaton::State;

  // The tokens allowed in a state.
  struct Mask {
    std::shared_ptr<const NextTokens> next;
    // The most tokens needed to complete the output after one of these.
    int64_t max_tokens_after = 0;
  };

  // Work spent so far on finding the next tokens of one cursor.
  struct WorkSpent {
    int64_t work = 0;
    uint64_t reset_epoch = 0;  // epoch_ after this search reset the constraint; 0 if it did not
  };

  Constraint(std::string field, ExpressionPool grammar, Expression root,
             std::shared_ptr<const VocabularyTrie> vocabulary, const ConstraintLimits& limits,
             std::shared_ptr<ConstraintMemory> memory);

  // These return null or nullopt if the automaton reaches its limits.
  std::shared_ptr<const NextTokens> FindNextTokens(Cursor& cursor, int64_t tokens_left)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Allows the tokens after which at most `max_tokens_after` more complete the output.
  std::optional<Mask> BuildMask(State state, int64_t max_tokens_after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The fewest tokens, as the budget counts them, that spell the shortest remaining text.
  std::optional<int64_t> MinTokensToEnd(State state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<int64_t> MinTokensOf(Expression expression) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Calls attempt() until it returns true or `work` is used up, and books more memory as needed. If
  // attempt() throws, resets the constraint.
  template <typename Attempt>
  absl::Status RunWithBudget(WorkSpent& spent, int64_t work, Attempt attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Attempt>
  absl::Status RunWithBudgetOrThrow(WorkSpent& spent, int64_t work, Attempt attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Books the memory in use and some more for the automaton to grow into. Drops the masks if the
  // limit requires it.
  absl::Status ReserveMemory() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Book(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops the automaton and everything that was found with it.
  void Reset() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t MaskBytes() const;  // of one mask
  int64_t UsedBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string field_;
  const ExpressionPool grammar_;
  const Expression root_;
  const std::shared_ptr<const VocabularyTrie> vocabulary_;
  const ConstraintLimits limits_;
  const std::shared_ptr<ConstraintMemory> memory_;
  int64_t shortest_tokens_ = 0;  // this and the next are set by Compile
  std::vector<std::string> warnings_;

  Mutex mutex_;
  std::optional<Automaton> automaton_ ABSL_GUARDED_BY(mutex_);  // unset until a search begins
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;  // states of other epochs are invalid
  std::unordered_map<State, Mask> masks_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Expression, int32_t> min_tokens_of_ ABSL_GUARDED_BY(mutex_);
  std::vector<State> path_ ABSL_GUARDED_BY(mutex_);  // states along the trie, by depth
  std::vector<Reservation> reservations_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> booked_{0};  // written under mutex_
};

// The position of an output within one constraint, initially at its start. Not thread-safe.
class Constraint::Cursor {
 private:
  friend class Constraint;

  std::string text_;
  State state_ = Automaton::kDead;  // after the first read_ bytes, in epoch_
  size_t read_ = 0;
  uint64_t epoch_ = 0;  // 0 if none
  WorkSpent spent_;     // for finding the next tokens here
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_
