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

// Limit on the shortest text of an output, in bytes. A longer one is never begun.
constexpr int64_t kMaxLength = int64_t{1} << 16;
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
  const std::string field = FieldName(spec);
  if (spec.bytes() > kMaxSpecBytes) {
    return InvalidField(field, absl::StrCat(spec.bytes(), " bytes"),
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

size_t ConstraintSpec::bytes() const {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  return bytes;
}

absl::StatusOr<std::shared_ptr<Constraint>> Constraint::Compile(
    const ConstraintSpec& spec, std::shared_ptr<const VocabularyTrie> vocabulary,
    const ConstraintLimits& limits, std::shared_ptr<FormMemory> memory) {
  const std::string field = FieldName(spec);
  ExpressionPool pool;
  ASSIGN_OR_RETURN(const Expression root, CompileSpec(spec, pool));
  pool.FindLengths(vocabulary->single_bytes());
  if (pool.length(root) >= ExpressionPool::kNever) {
    return InvalidField(field, "what no text matches", "what some text of the model's tokens does");
  }
  if (pool.length(root) > kMaxLength) {
    return InvalidField(field, absl::StrCat("what takes ", pool.length(root), " bytes at least"),
                        absl::StrCat("at most ", kMaxLength));
  }
  std::shared_ptr<Constraint> constraint(new Constraint(
      field, std::move(pool), root, std::move(vocabulary), limits, std::move(memory)));
  Place start;
  MutexLock lock(constraint->mutex_);
  RETURN_IF_ERROR(
      constraint->Pursue(start.effort_, limits.max_work, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        const auto shortest = constraint->TokensToEnd(constraint->automaton_->start());
        constraint->shortest_tokens_ = shortest.value_or(0);
        return shortest.has_value();
      }));
  RETURN_IF_ERROR(
      constraint->Pursue(start.effort_, limits.max_work, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return constraint->Look(start, kAnyCost) != nullptr;
      }));
  return constraint;
}

Constraint::Constraint(std::string field, ExpressionPool grammar, Expression root,
                       std::shared_ptr<const VocabularyTrie> vocabulary,
                       const ConstraintLimits& limits, std::shared_ptr<FormMemory> memory)
    : field_(std::move(field)),
      grammar_(std::move(grammar)),
      root_(root),
      vocabulary_(std::move(vocabulary)),
      limits_(limits),
      memory_(std::move(memory)),
      path_(vocabulary_->longest_token() + 1) {
  MutexLock lock(mutex_);
  Drop();
}

void Constraint::Advance(Place& place, int32_t token) const {
  place.text_ += vocabulary_->bytes(token);
}

absl::StatusOr<std::shared_ptr<const NextTokens>> Constraint::Find(Place& place,
                                                                   int64_t tokens_left) {
  std::shared_ptr<const NextTokens> next;
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(Pursue(place.effort_, limits_.slice_work, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    next = Look(place, tokens_left);
    return next != nullptr;
  }));
  return next;
}

std::shared_ptr<const NextTokens> Constraint::Known(Place& place, int64_t tokens_left) {
  if (!mutex_.TryLock()) return nullptr;
  std::shared_ptr<const NextTokens> next;
  if (automaton_) {
    automaton_->AllowWork(0);
    next = Look(place, tokens_left);
  }
  mutex_.Unlock();
  return next;
}

template <typename Attempt>
absl::Status Constraint::Pursue(Effort& effort, int64_t work, Attempt attempt) {
  try {
    return PursueOrThrow(effort, work, attempt);
  } catch (const std::exception& error) {
    Drop();  // shared state may be half modified
    return absl::ResourceExhaustedError(absl::StrCat(
        field_, ": the search for the tokens that may come next ended early: ", error.what()));
  }
}

template <typename Attempt>
absl::Status Constraint::PursueOrThrow(Effort& effort, int64_t work, Attempt attempt) {
  work = std::min(work, limits_.max_work - effort.work);
  int64_t left = work;
  do {
    if (!automaton_) automaton_.emplace(grammar_, root_, vocabulary_->longest_token());
    automaton_->AllowWork(left);
    if (const absl::Status room = MakeRoom(); !room.ok()) {
      // At most once per question, because the memory may hold the answers to other questions.
      if (effort.dropped == epoch_) return room;
      Drop();
      effort.dropped = epoch_;
      continue;
    }
    if (attempt()) {
      effort = Effort();
      return absl::OkStatus();
    }
    left = automaton_->work_left();
    if (left > 0 && !automaton_->out_of_memory()) {
      return absl::InternalError(absl::StrCat(field_, ": what may come next cannot be found"));
    }
  } while (left > 0);
  effort.work += work;
  if (effort.work < limits_.max_work) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(field_, ": needs more than ", limits_.max_work,
                   " steps of work to say which tokens may come next"));
}

absl::Status Constraint::MakeRoom() {
  constexpr int64_t kLeastStep = 64 << 10;
  if (UsedBytes() >= booked_) {
    const int64_t step = std::max(kLeastStep, UsedBytes() / 8);
    if (UsedBytes() + step > limits_.max_bytes) masks_.clear();
    if (UsedBytes() + step > limits_.max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(field_, ": needs more than ", limits_.max_bytes,
                       " bytes of memory to say which tokens may come next"));
    }
    if (UsedBytes() + step > booked_) RETURN_IF_ERROR(Book(UsedBytes() + step - booked_));
  }
  const int64_t others = UsedBytes() - static_cast<int64_t>(automaton_->memory_bytes());
  automaton_->AllowMemory(static_cast<size_t>(booked_ - others));
  return absl::OkStatus();
}

absl::Status Constraint::Book(int64_t bytes) {
  if (memory_ != nullptr) {
    constexpr std::string_view kWhat = "states and masks of structured output";
    ASSIGN_OR_RETURN(Reservation together,
                     memory_->together.Reserve(bytes, Purpose::kStructured, kWhat));
    if (memory_->process != nullptr) {
      ASSIGN_OR_RETURN(Reservation process,
                       memory_->process->Reserve(bytes, Purpose::kStructured, kWhat));
      reservations_.push_back(std::move(process));
    }
    reservations_.push_back(std::move(together));
  }
  booked_ += bytes;
  return absl::OkStatus();
}

void Constraint::Drop() {
  masks_.clear();
  tokens_of_ = {};
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
                              tokens_of_.capacity() * 12) +
         std::ssize(masks_) * MaskBytes();
}

std::shared_ptr<const NextTokens> Constraint::Look(Place& place, int64_t tokens_left) {
  if (place.epoch_ != epoch_) {
    place.state_ = automaton_->start();
    place.read_ = 0;
    place.epoch_ = epoch_;
  }
  for (; place.read_ < place.text_.size(); ++place.read_) {
    const auto byte = static_cast<uint8_t>(place.text_[place.read_]);
    const State next = automaton_->Next(place.state_, byte);
    if (next == Automaton::kUnfound) return nullptr;
    place.state_ = next;
  }
  const State shared = automaton_->Capped(place.state_);
  if (shared == Automaton::kUnfound) return nullptr;
  auto found = masks_.find(shared);
  if (found == masks_.end()) {
    std::optional<Mask> mask = Walk(shared, kAnyCost);
    if (!mask) return nullptr;
    found = masks_.emplace(shared, *std::move(mask)).first;
  }
  if (found->second.most_after <= tokens_left - 1) return found->second.next;
  const std::optional<Mask> mask = Walk(place.state_, tokens_left - 1);
  return mask ? mask->next : nullptr;
}

std::optional<Constraint::Mask> Constraint::Walk(State state, int64_t most_after) {
  if (automaton_->work_left() <= 0) return std::nullopt;
  const size_t words = (vocabulary_->vocab_size() + 63) / 64;
  auto next_tokens = std::make_shared<NextTokens>();
  next_tokens->allowed.resize(words);
  next_tokens->complete = automaton_->complete(state);
  int64_t most = 0;
  const auto nodes = vocabulary_->nodes();
  path_[0] = state;
  // Most tokens of a state lead to one of a few states, so remember the last one.
  State last = Automaton::kDead;
  int64_t last_cost = kAnyCost;
  for (uint32_t i = 0; i < nodes.size();) {
    const VocabularyTrie::Node& node = nodes[i];
    const State next = automaton_->Next(path_[node.depth - 1], node.byte);
    if (next == Automaton::kUnfound) return std::nullopt;
    if (automaton_->length(next) > kMaxLength) {
      i = node.end;
      continue;
    }
    path_[node.depth] = next;
    ++i;
    if (node.tokens_begin == node.tokens_end) continue;
    if (next != last) {
      const std::optional<int64_t> cost = TokensToEnd(next);
      if (!cost) return std::nullopt;
      last = next;
      last_cost = *cost;
    }
    if (last_cost > most_after) continue;
    most = std::max(most, last_cost);
    const bool ends = automaton_->at_end(next);
    if (ends) next_tokens->last.resize(words);
    for (uint32_t t = node.tokens_begin; t < node.tokens_end; ++t) {
      const int32_t token = vocabulary_->tokens()[t];
      const uint64_t bit = uint64_t{1} << (token % 64);
      next_tokens->allowed[token / 64] |= bit;
      if (ends) next_tokens->last[token / 64] |= bit;
    }
  }
  return Mask{std::move(next_tokens), most};
}

// Returns the smallest number of tokens over the expressions with the shortest texts.
std::optional<int64_t> Constraint::TokensToEnd(State state) {
  int64_t fewest = kAnyCost;
  for (const Expression e : automaton_->Shortest(state)) {
    const std::optional<int64_t> tokens = TokensOf(e);
    if (!tokens) return std::nullopt;
    fewest = std::min(fewest, *tokens);
  }
  return fewest;
}

// Finds the fewest tokens that spell the shortest text, starting from its end. Every suffix of that
// text is the shortest text of an expression too, so all of the results are kept. A spelling always
// exists, because each byte of the text is a token by itself.
std::optional<int64_t> Constraint::TokensOf(Expression expression) {
  if (const auto known = tokens_of_.find(expression); known != tokens_of_.end()) {
    return known->second;
  }
  std::vector<Expression> path = {expression};  // before each byte and after the last
  std::string text;
  while (!tokens_of_.contains(path.back()) && automaton_->LengthOf(path.back()) > 0) {
    const auto step = automaton_->AlongShortest(path.back());
    if (!step) return std::nullopt;
    text += static_cast<char>(step->first);
    path.push_back(step->second);
  }
  // The last expression is empty or known. It is spelled separately: tokens that reach into it are
  // not considered.
  std::vector<int32_t> fewest(text.size() + 1, std::numeric_limits<int32_t>::max());
  fewest.back() = tokens_of_.try_emplace(path.back(), 0).first->second;
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
    tokens_of_.emplace(path[begin], fewest[begin]);
  }
  return fewest.front();
}

}  // namespace whipsnake::engine
