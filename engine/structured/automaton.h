// The automaton of a grammar: reads bytes, knows what may come next and how far it is to the end.
//
// A state is a set of expressions, of which the text still to come must be one. Reading a byte
// replaces each by its derivatives. States and transitions are made when they are first asked for,
// so that nesting of any depth and counters of any size cost what is used of them.
//
// A set is cut to its kMaxItems shortest expressions. A state that was cut, or came of one, accepts
// fewer texts than it might, never a wrong one, and it is never without any. What is kept depends
// on the text alone: two automata of one grammar accept the same after the same text, whatever was
// asked of them before.
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

// The expressions of a state: each once, the shortest first, by their hash among equals.
using Items = std::vector<Expression>;

// Not thread-safe.
class Automaton {
 public:
  using State = uint32_t;
  static constexpr State kDead = 0;  // nothing can follow, and what was read is not complete
  static constexpr State kUnfound = ~State{0};  // to find it takes more than is allowed
  static constexpr size_t kMaxItems = 512;

  // `pool` is a grammar whose lengths are found. No text of more than `horizon` bytes is ever read
  // from the state that Capped() gives.
  Automaton(const ExpressionPool& pool, Expression root, int64_t horizon);

  State start() const { return start_; }

  // The state after one more byte, or kUnfound.
  State Next(State state, uint8_t byte) {
    const State next = transitions_[size_t{state} * classes_ + class_of_[byte]];
    return next != kUnfound ? next : FindNext(state, byte);
  }

  // Bytes of the shortest text still to come; ExpressionPool::kNever for kDead.
  int64_t length(State state) const { return states_[state].length; }
  bool complete(State state) const { return length(state) == 0; }
  // Complete, and nothing can follow.
  bool at_end(State state) const { return state == end_; }

  // The expressions of a state whose shortest texts are the shortest; none of kDead.
  std::span<const Expression> Shortest(State state) const;
  // Bytes of the shortest text of an expression.
  int64_t LengthOf(Expression e) const { return pool_.length(e); }
  // The byte that "the shortest" text of an expression begins with, and the expression that its
  // rest is the shortest text of; both depend on the expression alone. It is spelled with bytes of
  // the pool's alphabet, and the rest is among the shortest after that byte in every state that has
  // the expression among its shortest. The length is positive and below kNever. Nothing where to
  // find it takes more than is allowed.
  std::optional<std::pair<uint8_t, Expression>> AlongShortest(Expression e);

  // A state that accepts the same texts up to the horizon, is as far from its end, and is the same
  // for all states that differ only in how far their counters are from a bound beyond the horizon.
  // Or kUnfound.
  State Capped(State state);

  // What may be found out from now on: steps of derivatives and expressions put into new states,
  // and the bytes that this may take in all, which are looked at after each step. Past either, what
  // is not known is kUnfound; what was found before stays known and what was begun stays begun, so
  // that asking again later goes on from there. No limits at first.
  void AllowWork(int64_t work) { work_left_ = work; }
  void AllowMemory(size_t bytes) { most_bytes_ = bytes; }
  int64_t work_left() const { return work_left_; }
  bool out_of_memory() const { return memory_bytes() >= most_bytes_; }

  size_t memory_bytes() const;

 private:
  struct StateInfo {
    const Items* items;  // the key in known_
    int64_t length;
    State capped = kUnfound;
  };

  // The derivative of a state by a byte, as far as it is taken.
  struct Derivative {
    void Begin(const Items& items);
    void Clear();  // gives back what is more than most need
    size_t memory_bytes() const;

    std::vector<std::pair<Expression, Expression>> pending;  // an expression, what is to follow it
    absl::flat_hash_set<std::pair<Expression, Expression>> seen;
    Items found;
  };

  void FindByteClasses();
  bool may_find() const { return work_left_ > 0 && !out_of_memory(); }
  State FindNext(State state, uint8_t byte);
  // Goes on with derivative_, by `byte`; false where it may find no more before the end.
  bool Derive(uint8_t byte);
  void DeriveStep(uint8_t byte);
  // False where the head of the expression shows that no text of it begins with the byte.
  bool MayBeginWith(uint8_t byte, Expression e) const;
  State StateOf(Items items);
  Expression CappedExpression(Expression e);

  ExpressionPool pool_;
  const int64_t horizon_;
  std::array<uint8_t, 256> class_of_{};  // bytes that no set of the grammar tells apart
  std::vector<uint8_t> letters_;         // of each class that has some of the alphabet the first
  uint32_t classes_ = 0;
  std::vector<StateInfo> states_;
  std::vector<State> transitions_;  // [state][class]
  absl::node_hash_map<Items, State> known_;
  size_t item_count_ = 0;
  absl::flat_hash_map<Expression, Expression> capped_;
  int64_t work_left_;
  size_t most_bytes_;
  State start_ = kDead;
  State end_ = kDead;

  Derivative derivative_;  // the one that is being taken
  // By the place of their transition those that came to the bounds.
  absl::flat_hash_map<size_t, Derivative> begun_;
  size_t begun_bytes_ = 0;  // of these
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_AUTOMATON_H_
