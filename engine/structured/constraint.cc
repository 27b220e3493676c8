#include "engine/structured/constraint.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

#include "engine/base/status.h"
#include "engine/structured/json_schema.h"
#include "engine/structured/regex_grammar.h"

namespace whipsnake::engine {
namespace {

// Limit on the shortest output. A state that is farther from its end is never entered.
constexpr int64_t kMaxShortestBytes = int64_t{1} << 16;
constexpr size_t kMaxChoices = 1024;
constexpr int64_t kLengthSteps = 4;  // of work, to find the length of an expression
constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

std::string FieldName(const ConstraintSpec& spec) {
  return spec.kind == ConstraintSpec::Kind::kRegex     ? "regex"
         : spec.kind == ConstraintSpec::Kind::kChoices ? "choices"
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
      return InvalidField(absl::StrCat("choices[", i, "]"), "an empty text", "at least one byte");
    }
  }
  return pool.AnyLiteral({texts.begin(), texts.end()});
}

absl::StatusOr<CompiledSchema> CompileSpec(const ConstraintSpec& spec, ExpressionPool& pool) {
  const std::string field = FieldName(spec);
  if (spec.bytes() > kMaxSpecBytes) {
    return InvalidField(field, absl::StrCat(spec.bytes(), " bytes"),
                        absl::StrCat("at most ", kMaxSpecBytes));
  }
  CompiledSchema compiled;
  switch (spec.kind) {
    case ConstraintSpec::Kind::kRegex: {
      ASSIGN_OR_RETURN(compiled.root, CompileRegex(spec.texts.front(), field, pool));
      break;
    }
    case ConstraintSpec::Kind::kChoices: {
      ASSIGN_OR_RETURN(compiled.root, CompileChoices(spec.texts, pool));
      break;
    }
    case ConstraintSpec::Kind::kJsonSchema: {
      ASSIGN_OR_RETURN(compiled, CompileJsonSchema(spec.texts.front(), field, pool));
      break;
    }
  }
  if (pool.out_of_work()) return OutOfGrammarWork(field);
  if (pool.overflowed()) {
    return InvalidField(field, "a grammar that is too large",
                        absl::StrCat("at most ", ExpressionPool::kMaxGrammarNodes, " parts"));
  }
  return compiled;
}

}  // namespace

size_t ConstraintSpec::bytes() const {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  return bytes;
}

absl::StatusOr<std::shared_ptr<Constraint>> Constraint::Compile(
    const ConstraintSpec& spec, std::shared_ptr<const VocabularyTrie> vocabulary,
    const ConstraintLimits& limits, std::shared_ptr<ConstraintMemory> memory) {
  const std::string field = FieldName(spec);
  ExpressionPool pool;
  ASSIGN_OR_RETURN(CompiledSchema compiled, CompileSpec(spec, pool));
  const Expression root = compiled.root;
  pool.Spend(kLengthSteps * static_cast<int64_t>(pool.size()));
  const int64_t work_left = std::max<int64_t>(pool.work_left(), 1);
  bool is_found = false;
  pool.FindLengths(vocabulary->single_bytes());
  if (pool.length(root) >= ExpressionPool::kInfiniteLength) {
    return InvalidField(field,
                        "a constraint that no text of the model's tokens matches, as when what it "
                        "requires leads back to itself",
                        "one that some text matches");
  }
  if (pool.length(root) > kMaxShortestBytes) {
    return InvalidField(field, absl::StrCat("a shortest output of ", pool.length(root), " bytes"),
                        absl::StrCat("at most ", kMaxShortestBytes));
  }
  std::shared_ptr<Constraint> constraint(new Constraint(
      field, std::move(pool), root, std::move(vocabulary), limits, std::move(memory)));
  constraint->warnings_ = std::move(compiled.warnings);
  Cursor start;
  MutexLock lock(constraint->mutex_);
  // The first search takes what the grammar has left of the work to compile it.
  const int64_t work = std::min(limits.max_work, work_left);
  RETURN_IF_ERROR(
      constraint->RunWithBudget(start.spent_, work, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        const auto shortest = constraint->MinTokensToEnd(constraint->automaton_->start());
        constraint->shortest_tokens_ = shortest.value_or(0);
        is_found = shortest.has_value();
        return is_found;
      }));
  if (!is_found) return OutOfGrammarWork(field);
  is_found = false;
  RETURN_IF_ERROR(
      constraint->RunWithBudget(start.spent_, work, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        is_found = constraint->FindNextTokens(start, kUnlimited) != nullptr;
        return is_found;
      }));
  if (!is_found) return OutOfGrammarWork(field);
  return constraint;
}

Constraint::Constraint(std::string field, ExpressionPool grammar, Expression root,
                       std::shared_ptr<const VocabularyTrie> vocabulary,
                       const ConstraintLimits& limits, std::shared_ptr<ConstraintMemory> memory)
    : field_(std::move(field)),
      grammar_(std::move(grammar)),
      root_(root),
      vocabulary_(std::move(vocabulary)),
      limits_(limits),
      memory_(std::move(memory)),
      path_(vocabulary_->longest_token() + 1) {
  MutexLock lock(mutex_);
  Reset();
}

void Constraint::Advance(Cursor& cursor, int32_t token) const {
  cursor.text_ += vocabulary_->bytes(token);
}

absl::StatusOr<std::shared_ptr<const NextTokens>> Constraint::Find(Cursor& cursor,
                                                                   int64_t tokens_left) {
  std::shared_ptr<const NextTokens> next;
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(
      RunWithBudget(cursor.spent_, limits_.slice_work, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        next = FindNextTokens(cursor, tokens_left);
        return next != nullptr;
      }));
  return next;
}

std::shared_ptr<const NextTokens> Constraint::FindIfKnown(Cursor& cursor, int64_t tokens_left) {
  if (!mutex_.TryLock()) return nullptr;
  std::shared_ptr<const NextTokens> next;
  if (automaton_) {
    automaton_->SetWorkLimit(0);
    next = FindNextTokens(cursor, tokens_left);
  }
  mutex_.Unlock();
  return next;
}

template <typename Attempt>
absl::Status Constraint::RunWithBudget(WorkSpent& spent, int64_t work, Attempt attempt) {
  try {
    return RunWithBudgetOrThrow(spent, work, attempt);
  } catch (const std::exception& error) {
    Reset();  // shared state may be half modified
    return absl::ResourceExhaustedError(
        absl::StrCat(field_, ": the search for the next tokens failed: ", error.what()));
  }
}

template <typename Attempt>
absl::Status Constraint::RunWithBudgetOrThrow(WorkSpent& spent, int64_t work, Attempt attempt) {
  work = std::min(work, limits_.max_work - spent.work);
  int64_t left = work;
  do {
    if (!automaton_) automaton_.emplace(grammar_, root_, vocabulary_->longest_token());
    automaton_->SetWorkLimit(left);
    if (const absl::Status reserved = ReserveMemory(); !reserved.ok()) {
      // At most once per search, because the memory may hold the results of other searches.
      if (spent.reset_epoch == epoch_) return reserved;
      Reset();
      spent.reset_epoch = epoch_;
      continue;
    }
    if (attempt()) {
      spent = WorkSpent();
      return absl::OkStatus();
    }
    left = automaton_->work_left();
    if (left > 0 && !automaton_->out_of_memory()) {
      return absl::InternalError(absl::StrCat(field_, ": the next tokens cannot be found"));
    }
  } while (left > 0);
  spent.work += work;
  if (spent.work < limits_.max_work) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(field_, ": needs more than ", limits_.max_work,
                                                   " steps of work to find the next tokens"));
}

absl::Status Constraint::ReserveMemory() {
  constexpr int64_t kMinStepBytes = 64 << 10;
  if (UsedBytes() >= booked_) {
    const int64_t step = std::max(kMinStepBytes, UsedBytes() / 8);
    if (UsedBytes() + step > limits_.max_bytes) masks_.clear();
    if (UsedBytes() + step > limits_.max_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(field_, ": needs more than ",
                                                       limits_.max_bytes,
                                                       " bytes of memory to find the next tokens"));
    }
    if (UsedBytes() + step > booked_) RETURN_IF_ERROR(Book(UsedBytes() + step - booked_));
  }
  const int64_t others = UsedBytes() - static_cast<int64_t>(automaton_->memory_bytes());
  automaton_->SetMemoryLimit(static_cast<size_t>(booked_ - others));
  return absl::OkStatus();
}

absl::Status Constraint::Book(int64_t bytes) {
  if (memory_ != nullptr) {
    constexpr std::string_view kPurpose = "states and masks of structured output";
    ASSIGN_OR_RETURN(Reservation shared,
                     memory_->shared.Reserve(bytes, Purpose::kStructured, kPurpose));
    if (memory_->process != nullptr) {
      ASSIGN_OR_RETURN(Reservation process,
                       memory_->process->Reserve(bytes, Purpose::kStructured, kPurpose));
      reservations_.push_back(std::move(process));
    }
    reservations_.push_back(std::move(shared));
  }
  booked_ += bytes;
  return absl::OkStatus();
}

void Constraint::Reset() {
  masks_.clear();
  min_tokens_of_ = {};
  automaton_.reset();
  ++epoch_;
  reservations_.clear();
  booked_ = 0;
}

int64_t Constraint::MaskBytes() const {
  return sizeof(NextTokens) + sizeof(Mask) + 2 * vocabulary_->vocab_size() / 8;
}

int64_t Constraint::UsedBytes() const {
  return static_cast<int64_t>(grammar_.memory_bytes() + automaton_->memory_bytes() +
                              min_tokens_of_.capacity() * 12) +
         std::ssize(masks_) * MaskBytes();
}

std::shared_ptr<const NextTokens> Constraint::FindNextTokens(Cursor& cursor, int64_t tokens_left) {
  if (cursor.epoch_ != epoch_) {
    cursor.state_ = automaton_->start();
    cursor.read_ = 0;
    cursor.epoch_ = epoch_;
  }
  for (; cursor.read_ < cursor.text_.size(); ++cursor.read_) {
    const auto byte = static_cast<uint8_t>(cursor.text_[cursor.read_]);
    const State next = automaton_->Next(cursor.state_, byte);
    if (next == Automaton::kUnknown) return nullptr;
    cursor.state_ = next;
  }
  const State shared = automaton_->Capped(cursor.state_);
  if (shared == Automaton::kUnknown) return nullptr;
  auto found = masks_.find(shared);
  if (found == masks_.end()) {
    std::optional<Mask> mask = BuildMask(shared, kUnlimited);
    if (!mask) return nullptr;
    found = masks_.emplace(shared, *std::move(mask)).first;
  }
  if (found->second.max_tokens_after <= tokens_left - 1) return found->second.next;
  const std::optional<Mask> mask = BuildMask(cursor.state_, tokens_left - 1);
  return mask ? mask->next : nullptr;
}

std::optional<Constraint::Mask> Constraint::BuildMask(State state, int64_t max_tokens_after) {
  if (automaton_->work_left() <= 0) return std::nullopt;
  const size_t words = (vocabulary_->vocab_size() + 63) / 64;
  auto next_tokens = std::make_shared<NextTokens>();
  next_tokens->allowed.resize(words);
  next_tokens->complete = automaton_->complete(state);
  int64_t max_after = 0;
  const auto nodes = vocabulary_->nodes();
  path_[0] = state;
  // Most tokens of a state lead to one of a few states, so keep the result of the last one.
  State last = Automaton::kDead;
  int64_t last_min_tokens = kUnlimited;
  for (uint32_t i = 0; i < nodes.size();) {
    const VocabularyTrie::Node& node = nodes[i];
    const State next = automaton_->Next(path_[node.depth - 1], node.byte);
    if (next == Automaton::kUnknown) return std::nullopt;
    if (automaton_->length(next) > kMaxShortestBytes) {
      i = node.end;
      continue;
    }
    path_[node.depth] = next;
    ++i;
    if (node.tokens_begin == node.tokens_end) continue;
    if (next != last) {
      const std::optional<int64_t> min_tokens = MinTokensToEnd(next);
      if (!min_tokens) return std::nullopt;
      last = next;
      last_min_tokens = *min_tokens;
    }
    if (last_min_tokens > max_tokens_after) continue;
    max_after = std::max(max_after, last_min_tokens);
    const bool ends = automaton_->at_end(next);
    if (ends) next_tokens->last.resize(words);
    for (uint32_t t = node.tokens_begin; t < node.tokens_end; ++t) {
      const int32_t token = vocabulary_->tokens()[t];
      const uint64_t bit = uint64_t{1} << (token % 64);
      next_tokens->allowed[token / 64] |= bit;
      if (ends) next_tokens->last[token / 64] |= bit;
    }
  }
  return Mask{std::move(next_tokens), max_after};
}

// Returns the smallest number of tokens over the expressions with the shortest texts.
std::optional<int64_t> Constraint::MinTokensToEnd(State state) {
  int64_t min_tokens = kUnlimited;
  for (const Expression e : automaton_->ShortestExpressions(state)) {
    const std::optional<int64_t> tokens = MinTokensOf(e);
    if (!tokens) return std::nullopt;
    min_tokens = std::min(min_tokens, *tokens);
  }
  return min_tokens;
}

// Finds the fewest tokens that spell the shortest text, starting from its end. Every suffix of that
// text is the shortest text of an expression too, so all of the results are kept. A spelling always
// exists, because each byte of the text is a token by itself.
std::optional<int64_t> Constraint::MinTokensOf(Expression expression) {
  if (const auto known = min_tokens_of_.find(expression); known != min_tokens_of_.end()) {
    return known->second;
  }
  std::vector<Expression> path = {expression};  // before each byte and after the last
  std::string text;
  while (!min_tokens_of_.contains(path.back()) && automaton_->LengthOf(path.back()) > 0) {
    const auto step = automaton_->ShortestTextStep(path.back());
    if (!step) return std::nullopt;
    text += static_cast<char>(step->first);
    path.push_back(step->second);
  }
  // The last expression is empty or its result is known. It is spelled separately: tokens that
  // reach into it are not considered.
  std::vector<int32_t> min_tokens(text.size() + 1, std::numeric_limits<int32_t>::max());
  min_tokens.back() = min_tokens_of_.try_emplace(path.back(), 0).first->second;
  const auto nodes = vocabulary_->nodes();
  for (size_t begin = text.size(); begin-- > 0;) {
    uint32_t i = 0, end = static_cast<uint32_t>(nodes.size());
    for (size_t at = begin; at < text.size(); ++at) {
      while (i < end && nodes[i].byte != static_cast<uint8_t>(text[at])) i = nodes[i].end;
      if (i >= end) break;
      if (nodes[i].tokens_begin < nodes[i].tokens_end) {
        min_tokens[begin] = std::min(min_tokens[begin], min_tokens[at + 1] + 1);
      }
      end = nodes[i].end;
      ++i;
    }
    min_tokens_of_.emplace(path[begin], min_tokens[begin]);
  }
  return min_tokens.front();
}

}  // namespace whipsnake::engine
