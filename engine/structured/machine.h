// Deterministic machines over a small alphabet of symbols, and their intersections.
//
// Expressions have no intersection and no complement: a pattern beside a length, a multiple within
// a range, a name that matches no pattern. Here such a language is a list of machines that must all
// accept. Their product is explored up to a limit and becomes an expression with a rule per state.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_MACHINE_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_MACHINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/structured/automaton.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// Not thread-safe: states may be found on demand.
class Machine {
 public:
  using State = uint32_t;

  virtual ~Machine() = default;

  virtual State start() const = 0;
  // Returns nullopt if finding the state takes more than the machine's work or memory.
  virtual std::optional<State> Next(State state, uint8_t symbol) = 0;
  // The steps that finding states has taken so far.
  virtual int64_t work() const { return 0; }
  virtual bool accepts(State state) const = 0;
  // Whether it is known that nothing is accepted from here.
  virtual bool dead(State state) const = 0;
};

// Accepts the texts of an expression, whose bytes are the symbols; if `complement`, all others.
class ExpressionMachine : public Machine {
 public:
  // `pool` is a grammar after FindLengths().
  ExpressionMachine(const ExpressionPool& pool, Expression root, bool complement);

  State start() const override { return automaton_.start(); }
  std::optional<State> Next(State state, uint8_t symbol) override;
  bool accepts(State state) const override { return automaton_.complete(state) != complement_; }
  bool dead(State state) const override { return state == Automaton::kDead && !complement_; }
  int64_t work() const override { return kMaxWork - automaton_.work_left(); }

  // Bytes that no expression tells apart have the same class.
  uint8_t ClassOf(uint8_t byte) const { return automaton_.ClassOf(byte); }
  size_t memory_bytes() const { return automaton_.memory_bytes(); }

 private:
  static constexpr int64_t kMaxWork = int64_t{1} << 22;

  Automaton automaton_;
  const bool complement_;
};

// Accepts texts of `min_count` to `max_count` symbols.
class LengthMachine : public Machine {
 public:
  // `max_count` may be ExpressionPool::kUnbounded.
  LengthMachine(int64_t min_count, int64_t max_count);

  State start() const override { return 0; }
  std::optional<State> Next(State state, uint8_t symbol) override;
  bool accepts(State state) const override { return state >= min_count_ && !dead(state); }
  bool dead(State state) const override { return bounded_ && state > last_; }

 private:
  const bool bounded_;
  const State min_count_;
  const State last_;  // the last count that differs from those above it
};

// The same for the characters of UTF-8, whose bytes are the symbols.
class CharacterCountMachine : public LengthMachine {
 public:
  using LengthMachine::LengthMachine;

  std::optional<State> Next(State state, uint8_t byte) override {
    const bool continues = (byte & 0xc0) == 0x80;
    return continues ? state : LengthMachine::Next(state, byte);
  }
};

// The states of machines that run together, as far as they lead to an accepted text.
struct MachineProduct {
  struct State {
    bool accepts = false;
    std::vector<std::pair<uint8_t, uint32_t>> next;  // by symbol, without those that accept nothing
  };

  static constexpr size_t kMaxStates = 16'384;

  std::vector<State> states;  // the first is the start; empty if nothing is accepted
};

using Machines = std::vector<std::unique_ptr<Machine>>;

// The machines of a list that others own.
using MachinePointers = std::vector<Machine*>;

// Explores the states that texts of `symbols` reach from the start. Returns nullopt if there are
// more than MachineProduct::kMaxStates, or if it takes too much work, which is charged to `pool`.
std::optional<MachineProduct> Explore(const Machines& machines, std::span<const uint8_t> symbols,
                                      ExpressionPool& pool);

// Whether no text of `symbols` is accepted by all machines, which stay usable for other calls.
// Returns nullopt as Explore does, but allows kMaxOverlapStates.
std::optional<bool> AcceptNothing(const MachinePointers& machines, std::span<const uint8_t> symbols,
                                  ExpressionPool& pool);
inline constexpr size_t kMaxOverlapStates = size_t{1} << 16;

// Whether all machines accept the symbols. Returns nullopt if it takes too much work, which is
// charged to `pool`.
std::optional<bool> Accepts(const Machines& machines, std::span<const uint8_t> symbols,
                            ExpressionPool& pool);

// Returns the texts that the product accepts. `encode` returns what one symbol of a set may be.
Expression ToExpression(const MachineProduct& product,
                        const std::function<Expression(const ByteSet&)>& encode,
                        ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_MACHINE_H_
