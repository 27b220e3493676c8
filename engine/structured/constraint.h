// What an output is held to, compiled, and the tokens that may come next.
//
// The grammar is over bytes, and a token is allowed where its bytes lead to a state from which the
// text can still be completed. The set of allowed tokens, a mask, is found by a walk of the
// vocabulary's trie through the automaton, once for each state that is met; the idea of masks for
// states is that of Outlines (Willard & Louf, arXiv 2307.09702).
//
// As the end of the token budget comes near, only tokens stay allowed after which the shortest text
// that completes the output can still be spelled. So an output that begins with enough budget is
// always complete.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/structured/automaton.h"
#include "engine/structured/vocabulary_trie.h"

namespace whipsnake::engine {

struct ConstraintSpec {
  enum class Form { kRegex, kChoices, kJsonSchema };
  Form form = Form::kRegex;
  std::vector<std::string> texts;  // one; of kChoices, as many as there are

  bool operator==(const ConstraintSpec&) const = default;
};

// Bit i of word i / 64: token i.
using TokenMask = std::vector<uint64_t>;

// Thread-safe: shared by all sequences that are held to it.
class Constraint {
 public:
  // INVALID_ARGUMENT with the field ("regex", "choices[3]", "json_schema.properties.age.minimum")
  // for what is malformed, not supported, too large, or admits no text.
  static absl::StatusOr<std::shared_ptr<Constraint>> Compile(
      const ConstraintSpec& spec, std::shared_ptr<const VocabularyTrie> vocabulary);

  using State = Automaton::State;
  State start() const { return automaton_.start(); }
  // The fewest tokens that complete the output, as the budget counts them.
  int64_t shortest_tokens() const { return shortest_tokens_; }

  // The tokens that may come next where `tokens_left`, this one included, may still be generated.
  // None: the state is at its end, or finding out would have been too costly.
  std::shared_ptr<const TokenMask> Allowed(State state, int64_t tokens_left);
  // The state after a token that was allowed.
  State After(State state, int32_t token);
  bool complete(State state) const;  // the output may end here
  bool at_end(State state) const;    // and must

  size_t memory_bytes() const;

 private:
  // What a walk from a state finds.
  struct Mask {
    std::shared_ptr<const TokenMask> tokens;
    int64_t most_after = 0;  // tokens that complete the output after the worst of these
  };

  Constraint(const ExpressionPool& pool, Expression root,
             std::shared_ptr<const VocabularyTrie> vocabulary);
  // A walk allows what leaves at most `most_after` tokens to completion.
  Mask Walk(State state, int64_t most_after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t TokensToEnd(State state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<const VocabularyTrie> vocabulary_;
  mutable Mutex mutex_;
  Automaton automaton_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<State, Mask> masks_ ABSL_GUARDED_BY(mutex_);
  std::vector<int32_t> tokens_to_end_ ABSL_GUARDED_BY(mutex_);  // by state; < 0: not known
  std::vector<State> path_ ABSL_GUARDED_BY(mutex_);             // of a walk, by depth
  int64_t shortest_tokens_ = 0;
};

// Compiled constraints of one vocabulary, the last used ones. Thread-safe.
class ConstraintCache {
 public:
  explicit ConstraintCache(std::shared_ptr<const VocabularyTrie> vocabulary)
      : vocabulary_(std::move(vocabulary)) {}

  absl::StatusOr<std::shared_ptr<Constraint>> Get(const ConstraintSpec& spec);

 private:
  static constexpr size_t kMaxEntries = 64;
  static constexpr size_t kMaxBytes = size_t{256} << 20;

  const std::shared_ptr<const VocabularyTrie> vocabulary_;
  Mutex mutex_;
  std::vector<std::pair<ConstraintSpec, std::shared_ptr<Constraint>>> entries_
      ABSL_GUARDED_BY(mutex_);  // used last: first
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_CONSTRAINT_H_
