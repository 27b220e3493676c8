#include "engine/structured/constraint.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/base/status.h"
#include "engine/structured/json_schema.h"
#include "engine/structured/regex_grammar.h"

namespace whipsnake::engine {
namespace {

// Of one walk: some seconds, where a grammar is as bad as can be.
constexpr int64_t kMaxWork = int64_t{1} << 26;
// Masks and states of one constraint; past it they are found anew.
constexpr size_t kMaxMaskBytes = size_t{64} << 20;
// Of the shortest text of an output: nothing that is longer is begun.
constexpr int64_t kMaxLength = int64_t{1} << 20;
constexpr size_t kMaxSpecBytes = 64 << 10;
constexpr size_t kMaxChoices = 1024;
constexpr int64_t kAnyCost = std::numeric_limits<int64_t>::max();

std::string FieldName(const ConstraintSpec& spec) {
  return spec.form == ConstraintSpec::Form::kRegex     ? "regex"
         : spec.form == ConstraintSpec::Form::kChoices ? "choices"
                                                       : "json_schema";
}

absl::StatusOr<Expression> CompileChoices(const std::vector<std::string>& texts,
                                          ExpressionPool& pool) {
  if (texts.empty() || texts.size() > kMaxChoices) {
    return InvalidField("choices", absl::StrCat(texts.size(), " texts"),
                        absl::StrCat("1 to ", kMaxChoices));
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) {
      return InvalidField(absl::StrCat("choices[", i, "]"), "nothing", "a text");
    }
  }
  return pool.AnyLiteral({texts.begin(), texts.end()});
}

absl::StatusOr<Expression> CompileSpec(const ConstraintSpec& spec, ExpressionPool& pool) {
  size_t bytes = 0;
  for (const std::string& text : spec.texts) bytes += text.size();
  const std::string field = FieldName(spec);
  if (bytes > kMaxSpecBytes) {
    return InvalidField(field, absl::StrCat(bytes, " bytes"),
                        absl::StrCat("at most ", kMaxSpecBytes));
  }
  Expression root = ExpressionPool::kNothing;
  switch (spec.form) {
    case ConstraintSpec::Form::kRegex: {
      ASSIGN_OR_RETURN(root, CompileRegex(spec.texts.front(), field, pool));
      break;
    }
    case ConstraintSpec::Form::kChoices: {
      ASSIGN_OR_RETURN(root, CompileChoices(spec.texts, pool));
      break;
    }
    case ConstraintSpec::Form::kJsonSchema: {
      ASSIGN_OR_RETURN(root, CompileJsonSchema(spec.texts.front(), field, pool));
      break;
    }
  }
  if (pool.overflowed()) {
    return InvalidField(
        field, "too large a grammar",
        absl::StrCat("one of at most ", ExpressionPool::kMaxGrammarNodes, " parts"));
  }
  return root;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Constraint>> Constraint::Compile(
    const ConstraintSpec& spec, std::shared_ptr<const VocabularyTrie> vocabulary) {
  ExpressionPool pool;
  ASSIGN_OR_RETURN(const Expression root, CompileSpec(spec, pool));
  pool.FindLengths(vocabulary->single_bytes());
  if (pool.length(root) >= ExpressionPool::kNever) {
    return InvalidField(FieldName(spec), "what no text matches",
                        "what some text of the model's tokens does");
  }
  if (pool.length(root) > kMaxLength) {
    return InvalidField(FieldName(spec),
                        absl::StrCat("what takes ", pool.length(root), " bytes at least"),
                        absl::StrCat("at most ", kMaxLength));
  }
  std::shared_ptr<Constraint> constraint(new Constraint(pool, root, std::move(vocabulary)));
  return constraint;
}

Constraint::Constraint(const ExpressionPool& pool, Expression root,
                       std::shared_ptr<const VocabularyTrie> vocabulary)
    : vocabulary_(std::move(vocabulary)),
      automaton_(pool, root, vocabulary_->longest_token()),
      path_(vocabulary_->longest_token() + 1) {
  automaton_.LimitWork(kMaxWork);
  shortest_tokens_ = TokensToEnd(automaton_.start());
}

std::shared_ptr<const TokenMask> Constraint::Allowed(State state, int64_t tokens_left) {
  MutexLock lock(mutex_);
  if (masks_.size() * vocabulary_->vocab_size() / 8 > kMaxMaskBytes) masks_.clear();
  const State shared = automaton_.Capped(state);
  auto found = masks_.find(shared);
  if (found == masks_.end()) found = masks_.emplace(shared, Walk(shared, kAnyCost)).first;
  if (found->second.most_after <= tokens_left - 1) return found->second.tokens;
  return Walk(state, tokens_left - 1).tokens;
}

Constraint::Mask Constraint::Walk(State state, int64_t most_after) {
  automaton_.LimitWork(kMaxWork);
  auto mask = std::make_shared<TokenMask>((vocabulary_->vocab_size() + 63) / 64);
  int64_t most = 0;
  const auto nodes = vocabulary_->nodes();
  path_[0] = state;
  // Most tokens of a state lead to one of few others.
  State last = Automaton::kDead;
  int64_t last_cost = kAnyCost;
  for (uint32_t i = 0; i < nodes.size();) {
    const VocabularyTrie::Node& node = nodes[i];
    const State next = automaton_.Next(path_[node.depth - 1], node.byte);
    if (automaton_.length(next) > kMaxLength) {
      i = node.end;
      continue;
    }
    path_[node.depth] = next;
    ++i;
    if (node.tokens_begin == node.tokens_end) continue;
    if (next != last) {
      last = next;
      last_cost = TokensToEnd(next);
    }
    if (last_cost > most_after) continue;
    most = std::max(most, last_cost);
    for (uint32_t t = node.tokens_begin; t < node.tokens_end; ++t) {
      const int32_t token = vocabulary_->tokens()[t];
      (*mask)[token / 64] |= uint64_t{1} << (token % 64);
    }
  }
  return {std::move(mask), most};
}

// Along the shortest text, from which every end of it is the shortest of its state: the fewest
// tokens that spell it, found from its end.
int64_t Constraint::TokensToEnd(State state) {
  const auto known = [&](State s) {
    if (s >= tokens_to_end_.size()) tokens_to_end_.resize(s + 1, -1);
    return tokens_to_end_[s];
  };
  std::vector<State> states = {state};  // before each byte of the text, and after the last
  std::string text;
  while (known(states.back()) < 0 && automaton_.length(states.back()) > 0) {
    if (automaton_.out_of_work()) return std::numeric_limits<int32_t>::max();
    text += static_cast<char>(automaton_.ShortestByte(states.back()));
    states.push_back(automaton_.Next(states.back(), static_cast<uint8_t>(text.back())));
  }
  if (automaton_.length(states.back()) == 0) tokens_to_end_[states.back()] = 0;
  const int64_t rest = tokens_to_end_[states.back()];
  // The rest is spelled by itself: a token that reaches into it is not looked for.
  std::vector<int64_t> fewest(text.size() + 1, kAnyCost);
  fewest.back() = rest;
  const auto nodes = vocabulary_->nodes();
  for (size_t begin = text.size(); begin-- > 0;) {
    uint32_t i = 0, end = static_cast<uint32_t>(nodes.size());
    for (size_t at = begin; at < text.size(); ++at) {
      while (i < end && nodes[i].byte != static_cast<uint8_t>(text[at])) i = nodes[i].end;
      if (i >= end) break;
      if (nodes[i].tokens_begin < nodes[i].tokens_end) {
        fewest[begin] = std::min(fewest[begin], fewest[at + 1] + 1);
      }
      end = nodes[i].end;
      ++i;
    }
    tokens_to_end_[states[begin]] = static_cast<int32_t>(fewest[begin]);
  }
  return tokens_to_end_[state];
}

Constraint::State Constraint::After(State state, int32_t token) {
  MutexLock lock(mutex_);
  automaton_.LimitWork(kMaxWork);
  for (const char byte : vocabulary_->bytes(token)) {
    state = automaton_.Next(state, static_cast<uint8_t>(byte));
  }
  return state;
}

bool Constraint::complete(State state) const {
  MutexLock lock(mutex_);
  return automaton_.complete(state);
}

bool Constraint::at_end(State state) const {
  MutexLock lock(mutex_);
  return automaton_.at_end(state);
}

size_t Constraint::memory_bytes() const {
  MutexLock lock(mutex_);
  return automaton_.memory_bytes() + masks_.size() * vocabulary_->vocab_size() / 8 +
         tokens_to_end_.capacity() * sizeof(int32_t);
}

absl::StatusOr<std::shared_ptr<Constraint>> ConstraintCache::Get(const ConstraintSpec& spec) {
  const auto is_it = [&](const auto& entry) { return entry.first == spec; };
  {
    MutexLock lock(mutex_);
    const auto found = std::ranges::find_if(entries_, is_it);
    if (found != entries_.end()) {
      std::rotate(entries_.begin(), found, found + 1);
      return entries_.front().second;
    }
  }
  // Without the lock: it may take long, and others have theirs.
  ASSIGN_OR_RETURN(std::shared_ptr<Constraint> constraint, Constraint::Compile(spec, vocabulary_));
  MutexLock lock(mutex_);
  if (const auto found = std::ranges::find_if(entries_, is_it); found != entries_.end()) {
    return found->second;
  }
  entries_.insert(entries_.begin(), {spec, constraint});
  size_t bytes = 0, kept = 0;
  for (; kept < entries_.size() && kept < kMaxEntries; ++kept) {
    bytes += entries_[kept].second->memory_bytes();
    if (kept > 0 && bytes > kMaxBytes) break;
  }
  entries_.resize(kept);
  return constraint;
}

}  // namespace whipsnake::engine
