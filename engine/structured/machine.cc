#include "engine/structured/machine.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace whipsnake::engine {
namespace {

constexpr size_t kMachineBytes = size_t{24} << 20;

// Charges the work that machines do during its life to a pool.
class WorkCharge {
 public:
  WorkCharge(const Machines& machines, ExpressionPool& pool)
      : machines_(machines), pool_(pool), charged_(Total()) {}

  // Charges the work since the last call and `steps` more. Returns false if it is too much.
  bool Spend(int64_t steps) {
    const int64_t total = Total();
    return pool_.Spend(steps + total - std::exchange(charged_, total));
  }

 private:
  int64_t Total() const {
    int64_t total = 0;
    for (const auto& machine : machines_) total += machine->work();
    return total;
  }

  const Machines& machines_;
  ExpressionPool& pool_;
  int64_t charged_;
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
  MachineProduct product;
  WorkCharge charge(machines, pool);
  absl::flat_hash_map<std::vector<Machine::State>, uint32_t> index;
  std::vector<std::vector<Machine::State>> tuples;
  const auto add = [&](std::vector<Machine::State> tuple) {
    const auto [entry, is_new] = index.try_emplace(tuple, static_cast<uint32_t>(tuples.size()));
    if (is_new) {
      MachineProduct::State& state = product.states.emplace_back();
      state.accepts = true;
      for (size_t m = 0; m < machines.size(); ++m) {
        state.accepts = state.accepts && machines[m]->accepts(tuple[m]);
      }
      tuples.push_back(std::move(tuple));
    }
    return entry->second;
  };
  std::vector<Machine::State> tuple;
  for (const auto& machine : machines) tuple.push_back(machine->start());
  add(tuple);
  for (uint32_t at = 0; at < tuples.size(); ++at) {
    if (tuples.size() > MachineProduct::kMaxStates) return std::nullopt;
    if (!charge.Spend(std::ssize(symbols))) return std::nullopt;
    for (const uint8_t symbol : symbols) {
      bool dead = false;
      for (size_t m = 0; m < machines.size() && !dead; ++m) {
        const auto next = machines[m]->Next(tuples[at][m], symbol);
        if (!next) return std::nullopt;
        tuple[m] = *next;
        dead = machines[m]->dead(*next);
      }
      if (dead) continue;
      const uint32_t target = add(tuple);
      product.states[at].next.emplace_back(symbol, target);
    }
  }
  return Trimmed(product);
}

std::optional<bool> Accepts(const Machines& machines, std::span<const uint8_t> symbols,
                            ExpressionPool& pool) {
  WorkCharge charge(machines, pool);
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
