// What an output is held to, compiled, and the tokens that may come next.
//
// The grammar is over bytes, and a token is allowed where its bytes lead to a state from which the
// text can still be completed. The set of allowed tokens, a mask, is found by a walk of the
// vocabulary's trie through the automaton, once for each state that is met; the idea of masks for
// states is that of Outlines (Willard & Louf, arXiv 2307.09702).
//
// As the end of the token budget comes near, only tokens stay allowed after which the shortest text
// that completes the output can still be spelled. So an output that begins with enough budget is
// always complete.
//
// Masks and states are kept for the next output, up to a bound. Past it all are dropped, the masks
// first, and found anew where they are needed: a Place holds the text, from which its state
// follows.
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

inline constexpr size_t kMaxSpecBytes = 64 << 10;  // of a specification's texts together

struct ConstraintSpec {
  enum class Form { kRegex, kChoices, kJsonSchema };
  Form form = Form::kRegex;
  std::vector<std::string> texts;  // one; of kChoices, as many as there are

  size_t bytes() const;

  bool operator==(const ConstraintSpec&) const = default;
};

struct ConstraintLimits {
  int64_t max_bytes = int64_t{64} << 20;  // of one form: its grammar, states and masks
  // Work is counted in derivatives and expressions of states, some tens of nanoseconds each.
  int64_t max_work = int64_t{1} << 26;    // for what may come next in one place
  int64_t slice_work = int64_t{1} << 17;  // of one call of Find
};

// Where the memory of forms is booked: in a ledger of their own, which bounds them together, and in
// the process's, where there is one.
struct FormMemory {
  explicit FormMemory(int64_t most, Ledger* process_ledger)
      : together(most), process(process_ledger) {}

  Ledger together;
  Ledger* const process;
};

// Bit i of word i / 64: token i.
using TokenMask = std::vector<uint64_t>;

struct NextTokens {
  TokenMask allowed;      // [vocabulary]: none where nothing can follow
  TokenMask last;         // of these, those that nothing can follow; empty where there are none
  bool complete = false;  // the output may end before them
};

inline bool Contains(const TokenMask& mask, int32_t token) {
  const size_t word = static_cast<size_t>(token) / 64;
  return word < mask.size() && (mask[word] >> (token % 64) & 1) != 0;
}

// Thread-safe: shared by all sequences that are held to it.
class Constraint {
 public:
  class Place;

  // Finds what may come first too. INVALID_ARGUMENT with the field ("regex", "choices[3]",
  // "json_schema.properties.age.minimum") for what is malformed, not supported, too large, or
  // admits no text; RESOURCE_EXHAUSTED for what needs more memory or work than there is. `memory`
  // may be null.
  static absl::StatusOr<std::shared_ptr<Constraint>> Compile(
      const ConstraintSpec& spec, std::shared_ptr<const VocabularyTrie> vocabulary,
      const ConstraintLimits& limits = {}, std::shared_ptr<FormMemory> memory = nullptr);

  // The fewest tokens that complete the output, as the budget counts them.
  int64_t shortest_tokens() const { return shortest_tokens_; }

  // The place after a token that was allowed there.
  void Advance(Place& place, int32_t token) const;

  // What may come next where `tokens_left`, the next one included, may still be generated. Null
  // where that takes more than a slice of work: call it again, and it goes on from there.
  // RESOURCE_EXHAUSTED, naming the form, where it takes more memory or work than is allowed, or
  // more memory than the system has. Waits for another call of Find, not for more than its slice.
  absl::StatusOr<std::shared_ptr<const NextTokens>> Find(Place& place, int64_t tokens_left);

  // The same where it is known already: in microseconds. Null where it is not, or where another
  // call is finding something out.
  std::shared_ptr<const NextTokens> Known(Place& place, int64_t tokens_left);

  // Bytes that are booked for it.
  int64_t memory_bytes() const { return booked_.load(std::memory_order_relaxed); }

 private:
  using State = Automaton::State;

  // What a walk from a state finds.
  struct Mask {
    std::shared_ptr<const NextTokens> next;
    int64_t most_after = 0;  // tokens that complete the output after the worst of these
  };

  // What was spent on one question so far.
  struct Effort {
    int64_t work = 0;
    uint64_t dropped = 0;  // the epoch that it began by dropping everything
  };

  Constraint(std::string field, ExpressionPool grammar, Expression root,
             std::shared_ptr<const VocabularyTrie> vocabulary, const ConstraintLimits& limits,
             std::shared_ptr<FormMemory> memory);

  // These give nothing where the automaton may not find out more.
  std::shared_ptr<const NextTokens> Look(Place& place, int64_t tokens_left)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A walk allows what leaves at most `most_after` tokens to completion.
  std::optional<Mask> Walk(State state, int64_t most_after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The fewest tokens, as the budget counts them: of the shortest text still to come.
  std::optional<int64_t> TokensToEnd(State state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<int64_t> TokensOf(Expression expression) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Calls attempt() until it returns true, or so much work is done, with more memory where it
  // lacks. Where it throws, all that was found is dropped.
  template <typename Attempt>
  absl::Status Pursue(Effort& effort, int64_t work, Attempt attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Attempt>
  absl::Status PursueOrThrow(Effort& effort, int64_t work, Attempt attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Books what is used and some more, and allows the automaton that. Drops masks where it must.
  absl::Status MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Book(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets all that was found, and the automaton.
  void Drop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t MaskBytes() const;  // of one
  int64_t UsedBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string field_;
  const ExpressionPool grammar_;
  const Expression root_;
  const std::shared_ptr<const VocabularyTrie> vocabulary_;
  const ConstraintLimits limits_;
  const std::shared_ptr<FormMemory> memory_;
  int64_t shortest_tokens_ = 0;

  Mutex mutex_;
  std::optional<Automaton> automaton_ ABSL_GUARDED_BY(mutex_);  // nothing until a search begins
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;  // of the automaton: states of another mean nothing
  std::unordered_map<State, Mask> masks_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Expression, int32_t> tokens_of_ ABSL_GUARDED_BY(mutex_);
  std::vector<State> path_ ABSL_GUARDED_BY(mutex_);  // of a walk, by depth
  std::vector<Reservation> reservations_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> booked_{0};  // written under mutex_
};

// How far an output of one constraint has come; at first, nowhere. Not thread-safe.
class Constraint::Place {
 private:
  friend class Constraint;

  std::string text_;
  State state_ = Automaton::kDead;  // after the first read_ bytes, in this epoch
  size_t read_ = 0;
  uint64_t epoch_ = 0;  // 0: of none
  Effort effort_;       // for what may come next here
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_
