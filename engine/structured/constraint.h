// A compiled constraint on an output. It finds the tokens that may come next.
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
// first, and found again when needed: a Place holds the text, which determines its state.
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
  enum class Form { kRegex, kChoices, kJsonSchema };
  Form form = Form::kRegex;
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

// The ledgers in which the memory of constraints is booked: `together` limits all of them, and
// `process`, which may be null, is that of the process.
struct FormMemory {
  explicit FormMemory(int64_t most, Ledger* process_ledger)
      : together(most), process(process_ledger) {}

  Ledger together;
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
  class Place;

  // Compiles `spec` and finds the first tokens. Returns INVALID_ARGUMENT with the field ("regex",
  // "choices[3]", "json_schema.properties.age.minimum") if the specification is malformed, not
  // supported, too large, or admits no text, and RESOURCE_EXHAUSTED if it needs more memory or work
  // than is allowed. `memory` may be null.
  static absl::StatusOr<std::shared_ptr<Constraint>> Compile(
      const ConstraintSpec& spec, std::shared_ptr<const VocabularyTrie> vocabulary,
      const ConstraintLimits& limits = {}, std::shared_ptr<FormMemory> memory = nullptr);

  // The number of tokens of the shortest output, as the budget counts them.
  int64_t shortest_tokens() const { return shortest_tokens_; }

  // Moves `place` past `token`, which must be allowed there.
  void Advance(Place& place, int32_t token) const;

  // Returns the tokens that may come next if `tokens_left` tokens, including the next one, may
  // still be generated. Returns null if finding them takes more than a slice of work; call it again
  // to continue. Returns RESOURCE_EXHAUSTED, naming the field, if it takes more memory or work than
  // is allowed, or more memory than the system has. May wait for another call of Find, but no
  // longer than its slice.
  absl::StatusOr<std::shared_ptr<const NextTokens>> Find(Place& place, int64_t tokens_left);

  // Like Find, but only if the result is already known, which takes microseconds. Returns null if
  // it is not, or if another call is in progress.
  std::shared_ptr<const NextTokens> Known(Place& place, int64_t tokens_left);

  // Bytes that are booked for this constraint.
  int64_t memory_bytes() const { return booked_.load(std::memory_order_relaxed); }

 private:
  using State = Automaton::State;

  // The result of a walk from a state.
  struct Mask {
    std::shared_ptr<const NextTokens> next;
    int64_t most_after = 0;  // the most tokens needed to complete the output after one of these
  };

  // Work spent on one question so far.
  struct Effort {
    int64_t work = 0;
    uint64_t dropped = 0;  // epoch_ after this question dropped everything; 0 if it did not
  };

  Constraint(std::string field, ExpressionPool grammar, Expression root,
             std::shared_ptr<const VocabularyTrie> vocabulary, const ConstraintLimits& limits,
             std::shared_ptr<FormMemory> memory);

  // These return nothing if the automaton reaches its limits.
  std::shared_ptr<const NextTokens> Look(Place& place, int64_t tokens_left)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Allows the tokens after which at most `most_after` more complete the output.
  std::optional<Mask> Walk(State state, int64_t most_after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The fewest tokens, as the budget counts them, that spell the shortest remaining text.
  std::optional<int64_t> TokensToEnd(State state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<int64_t> TokensOf(Expression expression) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Calls attempt() until it returns true or `work` is used up, and books more memory as needed. If
  // attempt() throws, drops all that was found.
  template <typename Attempt>
  absl::Status Pursue(Effort& effort, int64_t work, Attempt attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Attempt>
  absl::Status PursueOrThrow(Effort& effort, int64_t work, Attempt attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Books the memory in use and some more, and lets the automaton use that. Drops masks if it must.
  absl::Status MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Book(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops the automaton and all that was found.
  void Drop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t MaskBytes() const;  // of one mask
  int64_t UsedBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string field_;
  const ExpressionPool grammar_;
  const Expression root_;
  const std::shared_ptr<const VocabularyTrie> vocabulary_;
  const ConstraintLimits limits_;
  const std::shared_ptr<FormMemory> memory_;
  int64_t shortest_tokens_ = 0;

  Mutex mutex_;
  std::optional<Automaton> automaton_ ABSL_GUARDED_BY(mutex_);  // unset until a search begins
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;  // states of other epochs are invalid
  std::unordered_map<State, Mask> masks_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Expression, int32_t> tokens_of_ ABSL_GUARDED_BY(mutex_);
  std::vector<State> path_ ABSL_GUARDED_BY(mutex_);  // states of a walk, by depth
  std::vector<Reservation> reservations_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> booked_{0};  // written under mutex_
};

// The position of an output within one constraint, initially at its start. Not thread-safe.
class Constraint::Place {
 private:
  friend class Constraint;

  std::string text_;
  State state_ = Automaton::kDead;  // after the first read_ bytes, in epoch_
  size_t read_ = 0;
  uint64_t epoch_ = 0;  // 0 if none
  Effort effort_;       // for finding the next tokens here
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_
