// The automaton of a grammar: reads bytes, knows what may come next and how far it is to the end.
//
// A state is a set of expressions, of which the text still to come must be one. Reading a byte
// replaces each by its derivatives. States and transitions are made when they are first asked for,
// so that nesting of any depth and counters of any size cost what is used of them.
//
// A set is cut to its kMaxItems shortest expressions. A state that was cut, or came of one, accepts
// fewer texts than it might, never a wrong one, and it is never without any.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_AUTOMATON_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_AUTOMATON_H_

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/node_hash_map.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// The expressions of a state: each once, the shortest first, by number among equals.
using Items = std::vector<Expression>;

// Not thread-safe.
class Automaton {
 public:
  using State = uint32_t;
  static constexpr State kDead = 0;  // nothing can follow, and what was read is not complete
  static constexpr size_t kMaxItems = 512;

  // `pool` is a grammar whose lengths are found. No text of more than `horizon` bytes is ever read
  // from the state that Capped() gives.
  Automaton(const ExpressionPool& pool, Expression root, int64_t horizon);

  State start() const { return start_; }

  // The state after one more byte.
  State Next(State state, uint8_t byte) {
    const State next = transitions_[state * classes_ + class_of_[byte]];
    return next != kUnknown ? next : FindNext(state, byte);
  }

  // Bytes of the shortest text still to come; ExpressionPool::kNever for kDead.
  int64_t length(State state) const { return states_[state].length; }
  bool complete(State state) const { return length(state) == 0; }
  // Complete, and nothing can follow.
  bool at_end(State state) const { return state == end_; }

  // The byte with which the shortest text goes on that is meant by "the shortest" everywhere: that
  // of the rest goes on as this one does. The state's length is positive and below kNever.
  uint8_t ShortestByte(State state);

  // A state that accepts the same texts up to the horizon, is as far from its end, and is the same
  // for all states that differ only in how far their counters are from a bound beyond the horizon.
  State Capped(State state);

  // Work done: derivatives taken, and expressions in new states. Once the limit is used up, Next
  // gives kDead where it would have to find out.
  void LimitWork(int64_t limit) { work_left_ = limit; }
  bool out_of_work() const { return work_left_ <= 0; }

  size_t memory_bytes() const;

 private:
  static constexpr State kUnknown = ~State{0};

  struct StateInfo {
    const Items* items;  // the key in known_
    int64_t length;
    State capped = kUnknown;
  };

  void FindByteClasses();
  State FindNext(State state, uint8_t byte);
  Items Derive(const Items& items, uint8_t byte);
  State StateOf(Items items);
  Expression CappedExpression(Expression e);

  ExpressionPool pool_;
  const int64_t horizon_;
  std::array<uint8_t, 256> class_of_{};  // bytes that no set of the grammar tells apart
  uint32_t classes_ = 0;
  std::vector<StateInfo> states_;
  std::vector<State> transitions_;  // [state][class]
  absl::node_hash_map<Items, State> known_;
  size_t item_count_ = 0;
  absl::flat_hash_map<Expression, Expression> capped_;
  int64_t work_left_ = 0;
  State start_ = kDead;
  State end_ = kDead;

  // What Derive is at: an expression and what is to follow it.
  std::vector<std::pair<Expression, Expression>> pending_;
  absl::flat_hash_set<std::pair<Expression, Expression>> seen_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_AUTOMATON_H_
