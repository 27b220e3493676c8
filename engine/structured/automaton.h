// The automaton of a grammar: reads bytes and knows which may follow and how far the end is.
//
// A state is a set of expressions, and the rest of the text must match one of them. Reading a byte
// replaces each expression by its derivatives. States and transitions are created on first use, so
// nesting of any depth and counters of any size cost only as much as is used of them.
//
// A set is cut to its kMaxItems shortest expressions. A state that was cut, or that is reached from
// one that was, may accept fewer texts than the grammar, but never a wrong one and never none.
// Which items are kept depends only on the text that was read: two automata of one grammar accept
// the same after the same text, whatever was asked of them before.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_AUTOMATON_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_AUTOMATON_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/node_hash_map.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// The expressions of a state, without duplicates, sorted by the length of their shortest text and
// then by hash.
using Items = std::vector<Expression>;

// Not thread-safe.
class Automaton {
 public:
  using State = uint32_t;
  static constexpr State kDead = 0;  // nothing can follow, and the text read is not complete
  static constexpr State kUnknown = ~State{0};  // not found within the allowed work and memory
  static constexpr size_t kMaxItems = 512;

  // `pool` is a grammar after FindLengths(). No text of more than `horizon` bytes may be read from
  // a state that Capped() returns.
  Automaton(const ExpressionPool& pool, Expression root, int64_t horizon);

  State start() const { return start_; }

  // Returns the state after one more byte, or kUnknown.
  State Next(State state, uint8_t byte) {
    const State next = transitions_[size_t{state} * classes_ + class_of_[byte]];
    return next != kUnknown ? next : FindNext(state, byte);
  }

  // The class of a byte: no set of the grammar tells bytes of one class apart.
  uint8_t ClassOf(uint8_t byte) const { return class_of_[byte]; }

  // Bytes of the shortest remaining text; ExpressionPool::kInfiniteLength for kDead.
  int64_t length(State state) const { return states_[state].length; }
  bool complete(State state) const { return length(state) == 0; }
  // Whether the text is complete and nothing can follow.
  bool at_end(State state) const { return state == end_; }

  // Returns the expressions of a state that have the shortest texts; none for kDead.
  std::span<const Expression> ShortestExpressions(State state) const;
  // Bytes of the shortest text of an expression.
  int64_t LengthOf(Expression e) const { return pool_.length(e); }
  // Returns the first byte of "the shortest" text of an expression, and the expression whose
  // shortest text is the rest; both depend only on the expression. The text consists of bytes of
  // the pool's alphabet. In every state that has the expression among its shortest, the rest is
  // among the shortest after that byte. The expression's length must be positive and below
  // kInfiniteLength. Returns nullopt if the search exceeds the allowed work or memory.
  std::optional<std::pair<uint8_t, Expression>> ShortestTextStep(Expression e);

  // Returns a state that accepts the same texts up to the horizon and is as far from its end. It is
  // the same for all states that differ only in how far their counters are from a bound beyond the
  // horizon. May return kUnknown.
  State Capped(State state);

  // Limits on finding states from now on: the work, which counts steps of derivatives and
  // expressions put into new states, and the total memory in bytes, which is checked after each
  // step. Beyond either limit, unknown states are kUnknown. What was found is kept, and an
  // unfinished derivative is kept, so a later call continues it. There are no limits at first.
  void SetWorkLimit(int64_t work) { work_left_ = work; }
  void SetMemoryLimit(size_t bytes) { max_bytes_ = bytes; }
  int64_t work_left() const { return work_left_; }
  bool out_of_memory() const { return memory_bytes() >= max_bytes_; }
  // Whether any state so far was cut to its shortest expressions.
  bool was_cut() const { return was_cut_; }

  size_t memory_bytes() const;

 private:
  struct StateInfo {
    const Items* items;  // the key in state_of_items_
    int64_t length;
    State capped = kUnknown;
  };

  // The derivative of a state by a byte, as far as it is computed.
  struct Derivative {
    void Begin(const Items& items);
    void Clear();  // frees the memory beyond what most derivatives need
    size_t memory_bytes() const;

    std::vector<std::pair<Expression, Expression>> pending;  // an expression and what follows it
    absl::flat_hash_set<std::pair<Expression, Expression>> seen;
    Items found;
  };

  void FindByteClasses();
  bool within_limits() const { return work_left_ > 0 && !out_of_memory(); }
  State FindNext(State state, uint8_t byte);
  // Continues derivative_, by `byte`. Returns false if it reaches a limit before the end.
  bool ContinueDerivative(uint8_t byte);
  void DeriveStep(uint8_t byte);
  // Returns false if the head of the expression shows that none of its texts begins with the byte.
  bool MayBeginWith(uint8_t byte, Expression e) const;
  State InternState(Items items);
  Expression CappedExpression(Expression e);

  ExpressionPool pool_;
  const int64_t horizon_;
  std::array<uint8_t, 256> class_of_{};  // byte classes; see FindByteClasses
  std::vector<uint8_t>
      class_representatives_;  // the first alphabet byte of each class that has one
  uint32_t classes_ = 0;
  std::vector<StateInfo> states_;
  std::vector<State> transitions_;  // [state][class]
  absl::node_hash_map<Items, State> state_of_items_;
  size_t item_count_ = 0;
  absl::flat_hash_map<Expression, Expression> capped_;
  int64_t work_left_;
  size_t max_bytes_;
  State start_ = kDead;
  State end_ = kDead;
  bool was_cut_ = false;

  Derivative derivative_;  // the one in progress
  // Unfinished derivatives that reached a limit, by the index of their transition.
  absl::flat_hash_map<size_t, Derivative> unfinished_;
  size_t unfinished_bytes_ = 0;  // of all in unfinished_
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_AUTOMATON_H_
