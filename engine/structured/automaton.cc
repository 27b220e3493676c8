#include "engine/structured/automaton.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace whipsnake::engine {
namespace {

using Kind = ExpressionPool::Kind;

// Memory that a finished derivative keeps for the next one.
constexpr size_t kMaxRetainedBytes = 16 << 10;

}  // namespace

Automaton::Automaton(const ExpressionPool& pool, Expression root, int64_t horizon)
    : pool_(pool),
      horizon_(horizon),
      work_left_(std::numeric_limits<int64_t>::max()),
      max_bytes_(std::numeric_limits<size_t>::max()) {
  FindByteClasses();
  InternState({});  // kDead; every byte leads back to it
  std::fill(transitions_.begin(), transitions_.end(), kDead);
  states_[kDead].capped = kDead;
  end_ = InternState({ExpressionPool::kEmpty});
  start_ = InternState({root});
}

// Groups bytes that no set of the grammar tells apart into one class. The transitions have one
// column per class.
void Automaton::FindByteClasses() {
  for (const ByteSet& set : pool_.byte_sets()) {
    // For each class, the new class of its bytes outside the set and that of its bytes in the set.
    std::array<std::array<int, 2>, 256> parts;
    parts.fill({-1, -1});
    int count = 0;
    for (int byte = 0; byte < 256; ++byte) {
      int& part = parts[class_of_[byte]][set.Contains(byte) ? 1 : 0];
      if (part < 0) part = count++;
      class_of_[byte] = static_cast<uint8_t>(part);
    }
    classes_ = count;
    if (classes_ == 256) break;
  }
  classes_ = std::max<uint32_t>(classes_, 1);
  std::array<bool, 256> has_representative{};
  for (int byte = 0; byte < 256; ++byte) {
    if (pool_.alphabet().Contains(byte) &&
        !std::exchange(has_representative[class_of_[byte]], true)) {
      class_representatives_.push_back(static_cast<uint8_t>(byte));
    }
  }
}

void Automaton::Derivative::Begin(const Items& items) {
  for (const Expression item : items) pending.emplace_back(item, ExpressionPool::kEmpty);
}

void Automaton::Derivative::Clear() {
  if (memory_bytes() > kMaxRetainedBytes) {
    *this = Derivative();
    return;
  }
  pending.clear();
  seen.clear();
  found.clear();
}

size_t Automaton::Derivative::memory_bytes() const {
  constexpr size_t kPairBytes = 2 * sizeof(Expression);
  return pending.capacity() * kPairBytes + seen.capacity() * (kPairBytes + 1) +
         found.capacity() * sizeof(Expression);
}

bool Automaton::MayBeginWith(uint8_t byte, Expression e) const {
  constexpr int kMaxDepth = 8;  // heads to look into: those of a text, a member and a pair
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    const ExpressionPool::Node& node = pool_.node(e);
    switch (node.kind) {
      case Kind::kNothing:
      case Kind::kEmpty:
        return false;
      case Kind::kBytes:
        return pool_.bytes(e).Contains(byte);
      case Kind::kChoice:
        return true;
      case Kind::kSequence:
        if (pool_.length(node.first) == 0) return true;  // the text may begin with the rest
        break;
      case Kind::kRepeat:
      case Kind::kRule:
        break;
    }
    e = node.first;
  }
  return true;
}

bool Automaton::ContinueDerivative(uint8_t byte) {
  while (!derivative_.pending.empty()) {
    if (!within_limits()) return false;
    DeriveStep(byte);
  }
  return true;
}

// One step of partial derivatives (Antimirov), where each item yields a set of them. No expression
// is built for an alternative that cannot begin with `byte`: a state has hundreds of items, and an
// item thousands of alternatives.
void Automaton::DeriveStep(uint8_t byte) {
  auto& pending = derivative_.pending;
  const auto [e, then] = pending.back();
  pending.pop_back();
  --work_left_;
  // Skip expressions that match no text and pairs that were seen: a left-recursive rule comes back
  // here.
  if (pool_.length(e) == ExpressionPool::kInfiniteLength ||
      !derivative_.seen.emplace(e, then).second) {
    return;
  }
  const ExpressionPool::Node node = pool_.node(e);
  switch (node.kind) {
    case Kind::kBytes:
      if (pool_.bytes(e).Contains(byte) && pool_.length(then) != ExpressionPool::kInfiniteLength) {
        derivative_.found.push_back(then);
      }
      break;
    case Kind::kSequence:
      if (pool_.length(node.first) == 0) pending.emplace_back(node.rest, then);
      if (MayBeginWith(byte, node.first)) {
        pending.emplace_back(node.first, pool_.Sequence(node.rest, then));
      }
      break;
    case Kind::kChoice:
      work_left_ -= node.count / 8;  // looking at one costs a fraction of a step
      for (const Expression alternative : pool_.alternatives(e)) {
        if (MayBeginWith(byte, alternative)) pending.emplace_back(alternative, then);
      }
      break;
    case Kind::kRepeat: {
      if (!MayBeginWith(byte, node.first)) break;
      const int64_t max_count =
          node.max_count == ExpressionPool::kUnbounded ? node.max_count : node.max_count - 1;
      const Expression rest =
          pool_.Repeat(node.first, std::max<int64_t>(node.min_count - 1, 0), max_count);
      pending.emplace_back(node.first, pool_.Sequence(rest, then));
      break;
    }
    case Kind::kRule:
      pending.emplace_back(node.first, then);
      break;
    case Kind::kNothing:
    case Kind::kEmpty:
      break;
  }
}

Automaton::State Automaton::InternState(Items items) {
  std::sort(items.begin(), items.end(), [&](Expression a, Expression b) {
    return std::tuple(pool_.length(a), pool_.hash(a), a) <
           std::tuple(pool_.length(b), pool_.hash(b), b);
  });
  items.erase(std::unique(items.begin(), items.end()), items.end());
  if (items.size() > kMaxItems) {
    items.resize(kMaxItems);
    was_cut_ = true;
  }
  items.shrink_to_fit();
  const auto [entry, is_new] =
      state_of_items_.try_emplace(std::move(items), static_cast<State>(states_.size()));
  if (is_new) {
    const Items& kept = entry->first;
    work_left_ -= kept.size() + classes_ / 8;
    item_count_ += kept.size();
    const int64_t length =
        kept.empty() ? ExpressionPool::kInfiniteLength : pool_.length(kept.front());
    states_.push_back({.items = &kept, .length = length});
    if (transitions_.size() + classes_ > transitions_.capacity()) {
      transitions_.reserve(transitions_.size() +
                           std::max<size_t>(transitions_.size() / 8, classes_));
    }
    transitions_.resize(transitions_.size() + classes_, kUnknown);
  }
  return entry->second;
}

Automaton::State Automaton::FindNext(State state, uint8_t byte) {
  if (!within_limits()) return kUnknown;
  const size_t transition = size_t{state} * classes_ + class_of_[byte];
  if (auto unfinished = unfinished_.extract(transition); !unfinished.empty()) {
    derivative_ = std::move(unfinished.mapped());
    unfinished_bytes_ -= derivative_.memory_bytes();
  } else {
    derivative_.Begin(*states_[state].items);
  }
  if (!ContinueDerivative(byte)) {
    unfinished_bytes_ += derivative_.memory_bytes();
    unfinished_.emplace(transition, std::exchange(derivative_, Derivative()));
    return kUnknown;
  }
  const State next = InternState(std::move(derivative_.found));
  transitions_[transition] = next;
  derivative_.Clear();
  return next;
}

std::span<const Expression> Automaton::ShortestExpressions(State state) const {
  const Items& items = *states_[state].items;
  size_t count = 0;
  while (count < items.size() && pool_.length(items[count]) == length(state)) ++count;
  return std::span(items).first(count);
}

std::optional<std::pair<uint8_t, Expression>> Automaton::ShortestTextStep(Expression e) {
  if (!within_limits()) return std::nullopt;
  const State alone = InternState({e});
  for (const uint8_t byte : class_representatives_) {
    const State next = Next(alone, byte);
    if (next == kUnknown) return std::nullopt;
    if (length(next) == pool_.length(e) - 1)
      return std::pair(byte, ShortestExpressions(next).front());
  }
  return std::nullopt;  // not reached: the shortest text has a first byte
}

// Uses a loop along the sequence, not recursion, as the sequence may be as deep as values are
// nested.
Expression Automaton::CappedExpression(Expression e) {
  std::vector<Expression> path;
  Expression capped = e;
  while (pool_.node(capped).kind == Kind::kSequence && !capped_.contains(capped)) {
    path.push_back(capped);
    capped = pool_.node(capped).rest;
  }
  const auto cap = [&](Expression part) {
    if (const auto known = capped_.find(part); known != capped_.end()) return known->second;
    const ExpressionPool::Node node = pool_.node(part);
    if (node.kind != Kind::kRepeat || node.max_count <= horizon_) return part;
    return pool_.Repeat(node.first, node.min_count, ExpressionPool::kUnbounded);
  };
  capped = cap(capped);
  for (; !path.empty(); path.pop_back()) {
    capped = pool_.Sequence(cap(pool_.node(path.back()).first), capped);
    capped_.emplace(path.back(), capped);
  }
  return capped;
}

Automaton::State Automaton::Capped(State state) {
  if (states_[state].capped != kUnknown) return states_[state].capped;
  if (!within_limits()) return kUnknown;
  Items capped = *states_[state].items;
  for (Expression& item : capped) item = CappedExpression(item);
  const State result = InternState(std::move(capped));
  states_[result].capped = result;
  return states_[state].capped = result;
}

size_t Automaton::memory_bytes() const {
  constexpr size_t kNodeBytes = 64;  // approximate size of a node of a hash map
  return pool_.memory_bytes() + states_.capacity() * (sizeof(StateInfo) + kNodeBytes) +
         transitions_.capacity() * sizeof(State) + item_count_ * sizeof(Expression) +
         capped_.capacity() * 2 * sizeof(Expression) + derivative_.memory_bytes() +
         unfinished_.capacity() * sizeof(Derivative) + unfinished_bytes_;
}

}  // namespace whipsnake::engine
