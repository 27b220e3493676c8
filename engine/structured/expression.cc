#include "engine/structured/expression.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

int64_t AddLengths(int64_t a, int64_t b) {
  return std::min(a + b, ExpressionPool::kInfiniteLength);
}

// a * times, at most kInfiniteLength, without overflow: both are at most 2^40.
int64_t MultiplyLength(int64_t a, int64_t times) {
  if (a == 0 || times == 0) return 0;
  return a > ExpressionPool::kInfiniteLength / times ? ExpressionPool::kInfiniteLength : a * times;
}

// Steps of work to look up or add an expression.
constexpr int64_t kInternSteps = 2;

}  // namespace

absl::Status OutOfGrammarWork(std::string_view field) {
  return absl::ResourceExhaustedError(
      absl::StrCat(ToAbsl(field), ": more than ", ExpressionPool::kMaxGrammarWork,
                   " steps of work to compile it seen, expected a part that takes fewer: shorter "
                   "patterns or lengths, or fewer branches"));
}

ExpressionPool::ExpressionPool() {
  nodes_.push_back({.kind = Kind::kNothing});
  nodes_.push_back({.kind = Kind::kEmpty, .length = 0});
}

Expression ExpressionPool::Add(const Node& node) {
  if (growing_ && nodes_.size() >= kMaxGrammarNodes) {
    overflowed_ = true;
    return kNothing;
  }
  nodes_.push_back(node);
  if (!growing_) {
    nodes_.back().length = LengthOf(node);
    nodes_.back().hash = HashOf(node);
  }
  return static_cast<Expression>(nodes_.size() - 1);
}

Expression ExpressionPool::Intern(const Key& key) {
  if (growing_) Spend(kInternSteps);
  const auto [entry, is_new] = interned_.try_emplace(key, kNothing);
  if (is_new) {
    entry->second = Add({.kind = key.kind,
                         .first = key.first,
                         .rest = key.rest,
                         .min_count = key.min_count,
                         .max_count = key.max_count});
  }
  return entry->second;
}

Expression ExpressionPool::Bytes(const ByteSet& set) {
  if (set.empty()) return kNothing;
  if (growing_) Spend(kInternSteps);
  const auto [entry, is_new] = interned_bytes_.try_emplace(set, kNothing);
  if (is_new) {
    sets_.push_back(set);
    entry->second = Add({.kind = Kind::kBytes, .begin = static_cast<uint32_t>(sets_.size() - 1)});
  }
  return entry->second;
}

Expression ExpressionPool::Literal(std::string_view text, Expression rest) {
  for (size_t i = text.size(); i-- > 0;) rest = Sequence(Byte(text[i]), rest);
  return rest;
}

Expression ExpressionPool::AnyLiteral(std::vector<std::string_view> texts) {
  // Builds the trie of the sorted texts from its leaves: `open` is the path to the last text, and
  // the node at depth d has the alternatives that may follow the text's first d bytes.
  std::sort(texts.begin(), texts.end());
  std::vector<std::vector<Expression>> open(1);
  std::string_view last;
  const auto close_to = [&](size_t depth) {
    while (open.size() > depth + 1) {
      const Expression node = Choice(open.back());
      open.pop_back();
      open.back().push_back(Sequence(Byte(last[open.size() - 1]), node));
    }
  };
  for (const std::string_view text : texts) {
    const auto [differs, unused] =
        std::mismatch(last.begin(), last.end(), text.begin(), text.end());
    close_to(differs - last.begin());
    last = text;
    open.resize(text.size() + 1);
    open.back().push_back(kEmpty);
  }
  close_to(0);
  return Choice(open.front());
}

Expression ExpressionPool::Sequence(Expression first, Expression rest) {
  if (first == kNothing || rest == kNothing) return kNothing;
  if (first == kEmpty) return rest;
  if (rest == kEmpty) return first;
  return Intern({Kind::kSequence, first, rest, 0, 0});
}

Expression ExpressionPool::Sequence(std::initializer_list<Expression> parts) {
  Expression all = kEmpty;
  for (auto part = std::rbegin(parts); part != std::rend(parts); ++part) {
    all = Sequence(*part, all);
  }
  return all;
}

Expression ExpressionPool::Choice(std::initializer_list<Expression> alternatives) {
  return Choice(std::span(alternatives.begin(), alternatives.size()));
}

Expression ExpressionPool::Choice(std::span<const Expression> alternatives) {
  std::vector<Expression> flat;
  for (const Expression e : alternatives) {
    if (nodes_[e].kind == Kind::kChoice) {
      const auto inner = this->alternatives(e);
      flat.insert(flat.end(), inner.begin(), inner.end());
    } else if (e != kNothing) {
      flat.push_back(e);
    }
  }
  if (growing_) Spend(kInternSteps + std::ssize(flat) / 2);
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return kNothing;
  if (flat.size() == 1) return flat.front();
  const auto [entry, is_new] = interned_choices_.try_emplace(std::move(flat), kNothing);
  if (is_new) {
    const auto& list = entry->first;
    if (growing_ && alternatives_.size() + list.size() > kMaxAlternatives) {
      overflowed_ = true;
      return kNothing;
    }
    entry->second = Add({.kind = Kind::kChoice,
                         .begin = static_cast<uint32_t>(alternatives_.size()),
                         .count = static_cast<uint32_t>(list.size())});
    alternatives_.insert(alternatives_.end(), list.begin(), list.end());
  }
  return entry->second;
}

Expression ExpressionPool::Repeat(Expression e, int64_t min_count, int64_t max_count) {
  if (max_count == 0 || e == kEmpty) return kEmpty;
  if (e == kNothing) return min_count == 0 ? kEmpty : kNothing;
  if (min_count == 1 && max_count == 1) return e;
  return Intern({Kind::kRepeat, e, 0, min_count, max_count});
}

Expression ExpressionPool::NewRule() { return Add({.kind = Kind::kRule}); }

// Hashes an expression that was made after the grammar by its parts. The hash of an expression of
// the grammar is its index.
uint64_t ExpressionPool::HashOf(const Node& node) const {
  const auto mix = [](uint64_t a, uint64_t b) {
    a = (a ^ b) * 0x9e3779b97f4a7c15u;
    return a ^ (a >> 29);
  };
  uint64_t hash = static_cast<uint64_t>(node.kind);
  hash = mix(mix(hash, nodes_[node.first].hash), nodes_[node.rest].hash);
  return mix(mix(hash, static_cast<uint64_t>(node.min_count)),
             static_cast<uint64_t>(node.max_count));
}

int64_t ExpressionPool::LengthOf(const Node& node) const {
  switch (node.kind) {
    case Kind::kNothing:
      return kInfiniteLength;
    case Kind::kEmpty:
      return 0;
    case Kind::kBytes:
      return sets_[node.begin].Intersects(alphabet_) ? 1 : kInfiniteLength;
    case Kind::kSequence:
      return AddLengths(length(node.first), length(node.rest));
    case Kind::kRepeat:
      return MultiplyLength(length(node.first), node.min_count);
    case Kind::kRule:
      return length(node.first);
    case Kind::kChoice: {
      int64_t shortest = kInfiniteLength;
      for (uint32_t i = node.begin; i < node.begin + node.count; ++i) {
        shortest = std::min(shortest, length(alternatives_[i]));
      }
      return shortest;
    }
  }
  return kInfiniteLength;
}

void ExpressionPool::ForEachPart(const Node& node, const auto& visit) const {
  switch (node.kind) {
    case Kind::kSequence:
      visit(node.first);
      visit(node.rest);
      break;
    case Kind::kRepeat:
    case Kind::kRule:
      visit(node.first);
      break;
    case Kind::kChoice:
      for (uint32_t i = node.begin; i < node.begin + node.count; ++i) visit(alternatives_[i]);
      break;
    case Kind::kNothing:
    case Kind::kEmpty:
    case Kind::kBytes:
      break;
  }
}

// Knuth, "A generalization of Dijkstra's algorithm" (1977): no expression is shorter than the part
// that determines its length, so the shortest length that is not final yet is final.
void ExpressionPool::FindLengths(const ByteSet& alphabet) {
  alphabet_ = alphabet;
  growing_ = false;
  // The expressions that have e as a part are users[first_user[e]] up to users[first_user[e + 1]].
  std::vector<uint32_t> first_user(nodes_.size() + 1);
  for (const Node& node : nodes_) {
    ForEachPart(node, [&](Expression part) { ++first_user[part + 1]; });
  }
  for (size_t e = 0; e < nodes_.size(); ++e) first_user[e + 1] += first_user[e];
  std::vector<Expression> users(first_user.back());
  std::vector<uint32_t> next_user(first_user.begin(), first_user.end() - 1);
  for (Expression e = 0; e < nodes_.size(); ++e) {
    ForEachPart(nodes_[e], [&](Expression part) { users[next_user[part]++] = e; });
  }

  using Candidate = std::pair<int64_t, Expression>;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto update = [&](Expression e, int64_t length) {
    if (length >= nodes_[e].length) return;
    nodes_[e].length = length;
    queue.emplace(length, e);
  };
  for (Expression e = 0; e < nodes_.size(); ++e) {
    nodes_[e].length = kInfiniteLength;
    nodes_[e].hash = e;
  }
  for (Expression e = 0; e < nodes_.size(); ++e) update(e, LengthOf(nodes_[e]));
  while (!queue.empty()) {
    const auto [length, e] = queue.top();
    queue.pop();
    if (length > nodes_[e].length) continue;  // a shorter text was found since
    for (uint32_t i = first_user[e]; i < first_user[e + 1]; ++i) {
      const Node& user = nodes_[users[i]];
      // A choice may have many parts, so look only at the one that has changed.
      update(users[i], user.kind == Kind::kChoice ? length : LengthOf(user));
    }
  }
}

size_t ExpressionPool::memory_bytes() const {
  return nodes_.capacity() * sizeof(Node) + interned_.capacity() * (sizeof(Key) + 8) +
         sets_.capacity() * sizeof(ByteSet) * 3 + alternatives_.capacity() * 12;
}

}  // namespace whipsnake::engine
