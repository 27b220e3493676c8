#include "engine/structured/machine.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/node_hash_map.h"

namespace whipsnake::engine {
namespace {

constexpr size_t kMachineBytes = size_t{24} << 20;

// Charges the work that machines do during its life to a pool.
class WorkCharge {
 public:
  WorkCharge(const MachinePointers& machines, ExpressionPool& pool)
      : machines_(machines), pool_(pool), charged_(Total()) {}

  // Charges the work since the last call and `steps` more. Returns false if it is too much.
  bool Spend(int64_t steps) {
    const int64_t total = Total();
    return pool_.Spend(steps + total - std::exchange(charged_, total));
  }

 private:
  int64_t Total() const {
    int64_t total = 0;
    for (const Machine* machine : machines_) total += machine->work();
    return total;
  }

  const MachinePointers& machines_;
  ExpressionPool& pool_;
  int64_t charged_;
};

// The states of machines that run together, numbered in the order in which they are reached: the
// first is the start. All that it is made from must outlive it.
class ProductWalk {
 public:
  ProductWalk(const MachinePointers& machines, std::span<const uint8_t> symbols, size_t max_states,
              ExpressionPool& pool)
      : machines_(machines), symbols_(symbols), max_states_(max_states), charge_(machines, pool) {
    for (const Machine* machine : machines) tuple_.push_back(machine->start());
    Number();
  }

  size_t size() const { return tuples_.size(); }

  bool Accepts(uint32_t state) const {
    for (size_t m = 0; m < machines_.size(); ++m) {
      if (!machines_[m]->accepts((*tuples_[state])[m])) return false;
    }
    return true;
  }

  // Calls visit(symbol, next state) for each symbol that may follow. Returns false if there are too
  // many states, or if it takes too much work.
  bool VisitNext(uint32_t state, const auto& visit) {
    // A symbol takes a step in each machine and one to look up the state.
    const auto steps = std::ssize(symbols_) * (std::ssize(machines_) + 1);
    if (size() > max_states_ || !charge_.Spend(steps)) return false;
    const std::vector<Machine::State>& from = *tuples_[state];
    for (const uint8_t symbol : symbols_) {
      bool dead = false;
      for (size_t m = 0; m < machines_.size() && !dead; ++m) {
        const auto next = machines_[m]->Next(from[m], symbol);
        if (!next) return false;
        tuple_[m] = *next;
        dead = machines_[m]->dead(*next);
      }
      if (!dead) visit(symbol, Number());
    }
    return true;
  }

 private:
  // The number of the state in tuple_.
  uint32_t Number() {
    const auto [entry, is_new] = index_.try_emplace(tuple_, static_cast<uint32_t>(size()));
    if (is_new) tuples_.push_back(&entry->first);
    return entry->second;
  }

  const MachinePointers& machines_;
  const std::span<const uint8_t> symbols_;
  const size_t max_states_;
  WorkCharge charge_;
  absl::node_hash_map<std::vector<Machine::State>, uint32_t> index_;
  std::vector<const std::vector<Machine::State>*> tuples_;  // the keys of index_
  std::vector<Machine::State> tuple_;
};

// Drops the states from which nothing is accepted, and the steps to them.
MachineProduct Trimmed(const MachineProduct& all) {
  std::vector<std::vector<uint32_t>> sources(all.states.size());
  std::vector<uint32_t> pending;
  std::vector<bool> leads_to_end(all.states.size());
  for (uint32_t s = 0; s < all.states.size(); ++s) {
    for (const auto& [symbol, target] : all.states[s].next) sources[target].push_back(s);
    if (all.states[s].accepts) pending.push_back(s);
  }
  while (!pending.empty()) {
    const uint32_t s = pending.back();
    pending.pop_back();
    if (leads_to_end[s]) continue;
    leads_to_end[s] = true;
    pending.insert(pending.end(), sources[s].begin(), sources[s].end());
  }
  MachineProduct kept;
  if (!leads_to_end.front()) return kept;
  std::vector<uint32_t> index(all.states.size());
  uint32_t count = 0;
  for (uint32_t s = 0; s < all.states.size(); ++s) {
    if (leads_to_end[s]) index[s] = count++;
  }
  for (uint32_t s = 0; s < all.states.size(); ++s) {
    if (!leads_to_end[s]) continue;
    MachineProduct::State& state = kept.states.emplace_back();
    state.accepts = all.states[s].accepts;
    for (const auto& [symbol, target] : all.states[s].next) {
      if (leads_to_end[target]) state.next.emplace_back(symbol, index[target]);
    }
  }
  return kept;
}

}  // namespace

ExpressionMachine::ExpressionMachine(const ExpressionPool& pool, Expression root, bool complement)
    : automaton_(pool, root, /*horizon=*/0), complement_(complement) {
  automaton_.SetWorkLimit(kMaxWork);
  automaton_.SetMemoryLimit(kMachineBytes);
}

std::optional<Machine::State> ExpressionMachine::Next(State state, uint8_t symbol) {
  const State next = automaton_.Next(state, symbol);
  // A state that was cut accepts fewer texts than the expression, so the complement is too large.
  if (next == Automaton::kUnknown || automaton_.was_cut()) return std::nullopt;
  return next;
}

LengthMachine::LengthMachine(int64_t min_count, int64_t max_count)
    : bounded_(max_count != ExpressionPool::kUnbounded),
      min_count_(static_cast<State>(min_count)),
      last_(bounded_ ? static_cast<State>(max_count) : min_count_) {}

std::optional<Machine::State> LengthMachine::Next(State state, uint8_t) {
  return std::min(state + 1, bounded_ ? last_ + 1 : last_);
}

std::optional<MachineProduct> Explore(const Machines& machines, std::span<const uint8_t> symbols,
                                      ExpressionPool& pool) {
  MachinePointers pointers;
  for (const auto& machine : machines) pointers.push_back(machine.get());
  MachineProduct product;
  ProductWalk walk(pointers, symbols, MachineProduct::kMaxStates, pool);
  for (uint32_t at = 0; at < walk.size(); ++at) {
    product.states.emplace_back().accepts = walk.Accepts(at);
    const bool done = walk.VisitNext(at, [&](uint8_t symbol, uint32_t target) {
      product.states[at].next.emplace_back(symbol, target);
    });
    if (!done) return std::nullopt;
  }
  return Trimmed(product);
}

std::optional<bool> AcceptNothing(const MachinePointers& machines, std::span<const uint8_t> symbols,
                                  ExpressionPool& pool) {
  ProductWalk walk(machines, symbols, kMaxOverlapStates, pool);
  for (uint32_t at = 0; at < walk.size(); ++at) {
    if (walk.Accepts(at)) return false;
    if (!walk.VisitNext(at, [](uint8_t, uint32_t) {})) return std::nullopt;
  }
  return true;
}

std::optional<bool> Accepts(const Machines& machines, std::span<const uint8_t> symbols,
                            ExpressionPool& pool) {
  MachinePointers pointers;
  for (const auto& machine : machines) pointers.push_back(machine.get());
  WorkCharge charge(pointers, pool);
  for (const auto& machine : machines) {
    Machine::State state = machine->start();
    for (const uint8_t symbol : symbols) {
      const auto next = machine->Next(state, symbol);
      if (!next) return std::nullopt;
      state = *next;
    }
    if (!charge.Spend(std::ssize(symbols))) return std::nullopt;
    if (!machine->accepts(state)) return false;
  }
  return true;
}

Expression ToExpression(const MachineProduct& product,
                        const std::function<Expression(const ByteSet&)>& encode,
                        ExpressionPool& pool) {
  if (product.states.empty()) return ExpressionPool::kNothing;
  std::map<ByteSet, Expression> encoded;
  std::vector<Expression> rules;
  for (size_t s = 0; s < product.states.size(); ++s) rules.push_back(pool.NewRule());
  if (pool.overflowed()) return ExpressionPool::kNothing;
  for (size_t s = 0; s < product.states.size() && !pool.overflowed(); ++s) {
    const MachineProduct::State& state = product.states[s];
    pool.Spend(2 * std::ssize(state.next));
    std::map<uint32_t, ByteSet> symbols_to;
    for (const auto& [symbol, target] : state.next) symbols_to[target].Add(symbol);
    std::vector<Expression> alternatives;
    if (state.accepts) alternatives.push_back(ExpressionPool::kEmpty);
    for (const auto& [target, symbols] : symbols_to) {
      const auto [entry, is_new] = encoded.try_emplace(symbols, ExpressionPool::kNothing);
      if (is_new) entry->second = encode(symbols);
      alternatives.push_back(pool.Sequence(entry->second, rules[target]));
    }
    pool.DefineRule(rules[s], pool.Choice(alternatives));
  }
  return pool.overflowed() ? ExpressionPool::kNothing : rules.front();
}

}  // namespace whipsnake::engine
