#include "engine/structured/automaton.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

namespace whipsnake::engine {
namespace {

using Kind = ExpressionPool::Kind;

}  // namespace

Automaton::Automaton(const ExpressionPool& pool, Expression root, int64_t horizon)
    : pool_(pool),
      horizon_(horizon),
      work_left_(std::numeric_limits<int64_t>::max()),
      most_bytes_(std::numeric_limits<size_t>::max()) {
  FindByteClasses();
  StateOf({});  // kDead, which every byte leads back to
  std::fill(transitions_.begin(), transitions_.end(), kDead);
  states_[kDead].capped = kDead;
  end_ = StateOf({ExpressionPool::kEmpty});
  start_ = StateOf({root});
}

// Bytes that no set of the grammar tells apart are one class: the transitions have a column for
// each class only.
void Automaton::FindByteClasses() {
  for (const ByteSet& set : pool_.byte_sets()) {
    std::map<std::pair<uint8_t, bool>, uint8_t> refined;
    for (int byte = 0; byte < 256; ++byte) {
      const std::pair<uint8_t, bool> key(class_of_[byte], set.Contains(byte));
      class_of_[byte] = refined.try_emplace(key, refined.size()).first->second;
    }
    classes_ = refined.size();
    if (classes_ == 256) break;
  }
  classes_ = std::max<uint32_t>(classes_, 1);
  std::array<bool, 256> has_letter{};
  for (int byte = 0; byte < 256; ++byte) {
    if (pool_.alphabet().Contains(byte) && !std::exchange(has_letter[class_of_[byte]], true)) {
      letters_.push_back(static_cast<uint8_t>(byte));
    }
  }
}

// Partial derivatives (Antimirov): each item gives a set of them.
Items Automaton::Derive(const Items& items, uint8_t byte) {
  Items next;
  pending_.clear();
  seen_.clear();
  for (const Expression item : items) pending_.emplace_back(item, ExpressionPool::kEmpty);
  while (!pending_.empty()) {
    const auto [e, then] = pending_.back();
    pending_.pop_back();
    --work_left_;
    // What has no text leads nowhere. A rule that names itself first comes by here again.
    if (pool_.length(e) == ExpressionPool::kNever || !seen_.emplace(e, then).second) continue;
    const ExpressionPool::Node node = pool_.node(e);
    switch (node.kind) {
      case Kind::kBytes:
        if (pool_.bytes(e).Contains(byte) && pool_.length(then) != ExpressionPool::kNever) {
          next.push_back(then);
        }
        break;
      case Kind::kSequence:
        if (pool_.length(node.first) == 0) pending_.emplace_back(node.rest, then);
        pending_.emplace_back(node.first, pool_.Sequence(node.rest, then));
        break;
      case Kind::kChoice:
        for (const Expression alternative : pool_.alternatives(e)) {
          pending_.emplace_back(alternative, then);
        }
        break;
      case Kind::kRepeat: {
        const int64_t most = node.most == ExpressionPool::kUnbounded ? node.most : node.most - 1;
        const Expression again =
            pool_.Repeat(node.first, std::max<int64_t>(node.least - 1, 0), most);
        pending_.emplace_back(node.first, pool_.Sequence(again, then));
        break;
      }
      case Kind::kRule:
        pending_.emplace_back(node.first, then);
        break;
      case Kind::kNothing:
      case Kind::kEmpty:
        break;
    }
  }
  return next;
}

Automaton::State Automaton::StateOf(Items items) {
  std::sort(items.begin(), items.end(), [&](Expression a, Expression b) {
    return std::tuple(pool_.length(a), pool_.hash(a), a) <
           std::tuple(pool_.length(b), pool_.hash(b), b);
  });
  items.erase(std::unique(items.begin(), items.end()), items.end());
  if (items.size() > kMaxItems) items.resize(kMaxItems);
  items.shrink_to_fit();
  const auto [place, is_new] =
      known_.try_emplace(std::move(items), static_cast<State>(states_.size()));
  if (is_new) {
    const Items& kept = place->first;
    work_left_ -= kept.size() + classes_ / 8;
    item_count_ += kept.size();
    const int64_t length = kept.empty() ? ExpressionPool::kNever : pool_.length(kept.front());
    states_.push_back({.items = &kept, .length = length});
    if (transitions_.size() + classes_ > transitions_.capacity()) {
      transitions_.reserve(transitions_.size() +
                           std::max<size_t>(transitions_.size() / 8, classes_));
    }
    transitions_.resize(transitions_.size() + classes_, kUnfound);
  }
  return place->second;
}

Automaton::State Automaton::FindNext(State state, uint8_t byte) {
  if (!may_find()) return kUnfound;
  const State next = StateOf(Derive(*states_[state].items, byte));
  transitions_[size_t{state} * classes_ + class_of_[byte]] = next;
  return next;
}

std::span<const Expression> Automaton::Shortest(State state) const {
  const Items& items = *states_[state].items;
  size_t count = 0;
  while (count < items.size() && pool_.length(items[count]) == length(state)) ++count;
  return std::span(items).first(count);
}

std::optional<std::pair<uint8_t, Expression>> Automaton::AlongShortest(Expression e) {
  if (!may_find()) return std::nullopt;
  const State alone = StateOf({e});
  for (const uint8_t byte : letters_) {
    const State next = Next(alone, byte);
    if (next == kUnfound) return std::nullopt;
    if (length(next) == pool_.length(e) - 1) return std::pair(byte, Shortest(next).front());
  }
  return std::nullopt;  // not reached: its shortest text has a first byte
}

// Along the sequence, which may be as deep as values are nested: a loop.
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
    if (node.kind != Kind::kRepeat || node.most <= horizon_) return part;
    return pool_.Repeat(node.first, node.least, ExpressionPool::kUnbounded);
  };
  capped = cap(capped);
  for (; !path.empty(); path.pop_back()) {
    capped = pool_.Sequence(cap(pool_.node(path.back()).first), capped);
    capped_.emplace(path.back(), capped);
  }
  return capped;
}

Automaton::State Automaton::Capped(State state) {
  if (states_[state].capped != kUnfound) return states_[state].capped;
  if (!may_find()) return kUnfound;
  Items capped = *states_[state].items;
  for (Expression& item : capped) item = CappedExpression(item);
  const State result = StateOf(std::move(capped));
  states_[result].capped = result;
  return states_[state].capped = result;
}

size_t Automaton::memory_bytes() const {
  constexpr size_t kNode = 64;  // of a hash map, about
  return pool_.memory_bytes() + states_.capacity() * (sizeof(StateInfo) + kNode) +
         transitions_.capacity() * sizeof(State) + item_count_ * sizeof(Expression) +
         capped_.capacity() * 2 * sizeof(Expression);
}

}  // namespace whipsnake::engine
