// Languages over bytes, as expressions: the texts that an output may be.
//
// An expression is a regular expression with counted repetition that may refer to rules. Rules may
// be recursive, so together they are a context-free grammar. Expressions are values in a pool.
// Equal expressions are the same value, so sets of them can be compared and remembered.
//
// The automaton (automaton.h) takes their derivatives by bytes: Brzozowski, "Derivatives of regular
// expressions" (1964), in the partial form of Antimirov (1996). Counters and nesting then need no
// expansion: a{0,1000} after one a is a{0,999}, and what follows a nested value is the rest of a
// sequence.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_EXPRESSION_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_EXPRESSION_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engine/structured/byte_set.h"

namespace whipsnake::engine {

// An index into its pool.
using Expression = uint32_t;

// Returns RESOURCE_EXHAUSTED, for a field that takes more than the work for one grammar.
absl::Status OutOfGrammarWork(std::string_view field);

// Not thread-safe. In a copy of a pool, every expression of the original has the same meaning.
class ExpressionPool {
 public:
  static constexpr Expression kNothing = 0;  // matches no text
  static constexpr Expression kEmpty = 1;    // matches only the empty text
  static constexpr int64_t kUnbounded = int64_t{1} << 40;
  // The length if there is no text, or none of a sensible length.
  static constexpr int64_t kInfiniteLength = int64_t{1} << 40;
  // The limit on the nodes of a grammar, which then take about 15 MB. The code that builds a
  // grammar must check overflowed() and refuse a larger one.
  static constexpr size_t kMaxGrammarNodes = size_t{1} << 17;
  static constexpr size_t kMaxAlternatives = size_t{1} << 20;  // of all choices in total
  // The limit on the work to make a grammar, in steps of some tens of nanoseconds. An expression
  // counts itself; whoever does other work for the grammar spends it.
  static constexpr int64_t kMaxGrammarWork = int64_t{1} << 24;

  enum class Kind : uint8_t { kNothing, kEmpty, kBytes, kSequence, kChoice, kRepeat, kRule };

  struct Node {
    Kind kind;
    Expression first = 0, rest = 0;        // kSequence; kRepeat: first; kRule: first is its body
    uint32_t begin = 0, count = 0;         // kChoice: in alternatives_; kBytes: begin in sets_
    int64_t min_count = 0, max_count = 0;  // kRepeat
    int64_t length = kInfiniteLength;  // bytes of the shortest text; 0 if it matches the empty text
    uint64_t hash = 0;                 // of its content; set by FindLengths
  };

  ExpressionPool();

  Expression Bytes(const ByteSet& set);
  Expression Byte(char byte) { return Bytes(ByteSet::Of({&byte, 1})); }
  // `text` and then `rest`.
  Expression Literal(std::string_view text, Expression rest = kEmpty);
  // Any of `texts`, which share nodes for common prefixes.
  Expression AnyLiteral(std::vector<std::string_view> texts);
  Expression Sequence(Expression first, Expression rest);
  Expression Sequence(std::initializer_list<Expression> parts);
  Expression Choice(std::span<const Expression> alternatives);
  Expression Choice(std::initializer_list<Expression> alternatives);
  Expression Optional(Expression e) { return Choice({kEmpty, e}); }
  // `e` from `min_count` to `max_count` times; `max_count` may be kUnbounded.
  Expression Repeat(Expression e, int64_t min_count, int64_t max_count);

  // A rule is created before it is defined, so that its body may refer to it.
  Expression NewRule();
  void DefineRule(Expression rule, Expression body) { nodes_[rule].first = body; }

  // Whether the grammar has become too large; parts of it are then missing.
  bool overflowed() const { return overflowed_; }
  // Whether that is because it took too much work.
  bool out_of_work() const { return work_left_ < 0; }
  int64_t work_left() const { return work_left_; }
  int64_t work_spent() const { return kMaxGrammarWork - work_left_; }

  // Counts steps of work for the grammar. Returns false if they are too many for it.
  bool Spend(int64_t steps) {
    work_left_ -= steps;
    overflowed_ = overflowed_ || work_left_ < 0;
    return work_left_ >= 0;
  }

  // Call this once, when all rules are defined. Finds the lengths of the shortest texts that are
  // spelled with bytes of `alphabet`, in O(n log n). Expressions made later get their length at
  // once.
  void FindLengths(const ByteSet& alphabet);

  const Node& node(Expression e) const { return nodes_[e]; }
  int64_t length(Expression e) const { return nodes_[e].length; }
  // The same for the same expression in every copy of the pool, in whatever order each copy made
  // it.
  uint64_t hash(Expression e) const { return nodes_[e].hash; }
  const ByteSet& alphabet() const { return alphabet_; }
  const ByteSet& bytes(Expression e) const { return sets_[nodes_[e].begin]; }
  std::span<const Expression> alternatives(Expression e) const {
    return std::span(alternatives_).subspan(nodes_[e].begin, nodes_[e].count);
  }
  std::span<const ByteSet> byte_sets() const { return sets_; }
  size_t size() const { return nodes_.size(); }
  size_t memory_bytes() const;

 private:
  struct Key {
    Kind kind;
    Expression first, rest;
    int64_t min_count, max_count;
    bool operator==(const Key&) const = default;
    template <typename H>
    friend H AbslHashValue(H state, const Key& key) {
      return H::combine(std::move(state), key.kind, key.first, key.rest, key.min_count,
                        key.max_count);
    }
  };

  Expression Add(const Node& node);
  Expression Intern(const Key& key);
  int64_t LengthOf(const Node& node) const;
  uint64_t HashOf(const Node& node) const;
  // Calls visit(part) for each direct part of `node`.
  void ForEachPart(const Node& node, const auto& visit) const;

  std::vector<Node> nodes_;
  std::vector<Expression> alternatives_;
  std::vector<ByteSet> sets_;
  absl::flat_hash_map<Key, Expression> interned_;
  std::map<ByteSet, Expression> interned_bytes_;
  std::map<std::vector<Expression>, Expression> interned_choices_;
  ByteSet alphabet_;
  bool growing_ = true;  // until FindLengths
  bool overflowed_ = false;
  int64_t work_left_ = kMaxGrammarWork;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_EXPRESSION_H_
