#include "engine/generate/generation.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

bool IsUnwanted(const absl::Status& status) {
  return absl::IsCancelled(status) || absl::IsUnavailable(status) ||
         absl::IsDeadlineExceeded(status);
}

FinishReason ReasonOf(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) ? FinishReason::kDeadline : FinishReason::kCancelled;
}

}  // namespace

Generation::Generation(GenerationRequest request, std::shared_ptr<BufferedStream> stream,
                       int64_t max_unread_tokens, const Tokenizer* tokenizer, Model* model,
                       PrefixCache* cache, GenerationObserver* observer)
    : request_(std::move(request)),
      stream_(std::move(stream)),
      max_unread_tokens_(max_unread_tokens),
      model_(*model),
      cache_(*cache),
      observer_(*observer) {
  completions_.reserve(request_.completions);
  for (int index = 0; index < request_.completions; ++index) {
    completions_.push_back({.sequence{&request_, index, tokenizer, model->info()}});
  }
}

absl::Status Generation::CheckWanted(Clock::time_point now) const {
  if (stream_->cancelled()) return absl::CancelledError("the client cancelled the request");
  if (const int64_t unread = stream_->unread_tokens(); unread > max_unread_tokens_) {
    return absl::CancelledError(absl::StrCat("the client reads too slowly: ", unread,
                                             " tokens wait for it, of at most ",
                                             max_unread_tokens_));
  }
  if (now >= request_.deadline) {
    return absl::DeadlineExceededError(absl::StrCat("the request's deadline passed after ",
                                                    completions_.front().sequence.generated(),
                                                    " tokens"));
  }
  return absl::OkStatus();
}

// A request that asks for no token leaves the last one unread, for who continues the state.
int64_t Generation::prompt_end() const {
  return std::ssize(request_.prompt) - (request_.max_new_tokens == 0 ? 1 : 0);
}

absl::Status Generation::Prepare(int index, Clock::time_point now) {
  if (!started()) RETURN_IF_ERROR(Start(now));
  if (prompt_left() > 0 || complete(index)) return absl::OkStatus();
  return Fork(completions_[index]);
}

absl::Status Generation::Start(Clock::time_point now) {
  PrefixCache::Found from = cache_.Find(request_.prompt);
  const bool hit = from.state != nullptr;
  if (request_.resume != nullptr && from.length < request_.resume->state->position()) {
    from = {request_.resume->state, request_.resume->state->position()};
  }
  ASSIGN_OR_RETURN(std::shared_ptr<State> state,
                   from.state == nullptr ? model_.NewState() : from.state->CloneAt(from.length));
  // A lone completion goes on in the prompt's own state.
  const int64_t alone = sequences() == 1 ? request_.max_new_tokens : 0;
  RETURN_IF_ERROR(MakeRoom(*state, std::ssize(request_.prompt) + alone));
  prompt_state_ = std::move(state);
  cached_tokens_ = read_ = completions_.front().remembered = prompt_state_->position();
  started_at_ = now;
  observer_.OnStarted(Seconds(now - request_.arrival));
  if (cache_.options().max_bytes > 0) observer_.OnCacheLookup(hit);
  stream_->Start(cached_tokens_);
  return absl::OkStatus();
}

// The last one takes the state itself, unless the cache has it too.
absl::Status Generation::Fork(Completion& completion) {
  if (completion.state != nullptr) return absl::OkStatus();
  const bool is_last = std::ranges::none_of(completions_, [&](const Completion& other) {
    return &other != &completion && other.state == nullptr && !other.sequence.finish_reason();
  });
  if (is_last && prompt_state_.use_count() == 1) {
    RETURN_IF_ERROR(
        MakeRoom(*prompt_state_, std::ssize(request_.prompt) + request_.max_new_tokens));
    completion.state = std::move(prompt_state_);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::shared_ptr<State> state, prompt_state_->Clone());
  RETURN_IF_ERROR(MakeRoom(*state, std::ssize(request_.prompt) + request_.max_new_tokens));
  completion.state = std::move(state);
  if (is_last) prompt_state_.reset();
  return absl::OkStatus();
}

absl::Status Generation::MakeRoom(State& state, int64_t positions) const {
  const int64_t most = model_.info().max_positions;
  return state.MakeRoom(most > 0 ? std::min(positions, most) : positions);
}

Run Generation::NextRun(int index, int64_t prompt_tokens) const {
  const Completion& completion = completions_[index];
  if (prompt_tokens == 0) {
    return {{&completion.sequence.output().back(), 1}, completion.state.get(), LogitsOf::kLast};
  }
  const auto tokens = std::span(request_.prompt).subspan(read_, prompt_tokens);
  const bool last = read_ + prompt_tokens == std::ssize(request_.prompt);
  return {tokens, prompt_state_.get(), last ? LogitsOf::kLast : LogitsOf::kNone};
}

absl::Status Generation::Choose(int index, int64_t prompt_tokens, std::span<const float> logits) {
  if (logits.empty()) return absl::OkStatus();
  if (prompt_tokens == 0) return ChooseNext(index, logits);
  for (int i = 0; i < sequences(); ++i) RETURN_IF_ERROR(ChooseNext(i, logits));
  return absl::OkStatus();
}

absl::Status Generation::ChooseNext(int index, std::span<const float> logits) {
  Completion& completion = completions_[index];
  ASSIGN_OR_RETURN(completion.delta, completion.sequence.Accept(logits));
  completion.delta.index = index;
  return absl::OkStatus();
}

void Generation::Advance(int index, int64_t prompt_tokens) {
  if (prompt_tokens == 0) {
    Remember(completions_[index], completions_[index].state);
    return HandOver(index);
  }
  read_ += prompt_tokens;
  Remember(completions_.front(), prompt_state_);
  if (read_ < std::ssize(request_.prompt)) return;
  for (int i = 0; i < sequences(); ++i) HandOver(i);
}

void Generation::HandOver(int index) {
  Completion& completion = completions_[index];
  const Clock::time_point now = Clock::now();
  if (completion.last_token_at) {
    observer_.OnInterToken(Seconds(now - *completion.last_token_at));
  } else if (!first_token_at_) {
    first_token_at_ = now;
    observer_.OnFirstToken(Seconds(now - request_.arrival));
  }
  last_token_at_ = completion.last_token_at = now;
  stream_->Append(std::exchange(completion.delta, Delta()));
}

// Keeps a copy every so many tokens: the state itself goes on.
void Generation::Remember(Completion& completion, const std::shared_ptr<State>& state) {
  const PrefixCacheOptions& options = cache_.options();
  if (state->bytes() > options.max_bytes) return;
  if (state->position() - completion.remembered < options.interval_tokens) return;
  completion.remembered = state->position();
  auto copy = state->Clone();
  if (copy.ok()) cache_.Insert(TokensOf(completion, state->position()), *std::move(copy));
}

std::vector<int32_t> Generation::TokensOf(const Completion& completion, int64_t count) const {
  const int64_t prompt = std::min(count, std::ssize(request_.prompt));
  std::vector<int32_t> tokens(request_.prompt.begin(), request_.prompt.begin() + prompt);
  const auto output = completion.sequence.output().begin();
  tokens.insert(tokens.end(), output, output + (count - prompt));
  return tokens;
}

bool Generation::complete(int index) const {
  if (request_.max_new_tokens == 0) return started() && prompt_left() == 0;
  return completions_[index].sequence.finish_reason().has_value();
}

bool Generation::complete() const {
  for (int index = 0; index < sequences(); ++index) {
    if (!complete(index)) return false;
  }
  return true;
}

void Generation::Leave(int index) {
  Completion& completion = completions_[index];
  // One that ended with its first token, or asked for none, never ran by itself.
  const std::shared_ptr<State> state =
      completion.state != nullptr ? std::move(completion.state) : prompt_state_;
  if (state == nullptr) return;
  state->ReleaseRoom();
  if (request_.save_state && complete(index) && completion.saved == nullptr) {
    completion.saved = Save(completion, state);
  }
  cache_.Insert(TokensOf(completion, state->position()), state);
}

std::shared_ptr<const SavedState> Generation::Save(const Completion& completion,
                                                   const std::shared_ptr<State>& state) const {
  const int64_t all = std::ssize(request_.prompt) + completion.sequence.generated();
  const int64_t kept = completion.sequence.EndedByToken() ? all - 1 : all;
  return std::make_shared<SavedState>(SavedState{TokensOf(completion, kept), state});
}

int64_t Generation::state_bytes() const {
  int64_t bytes = prompt_state_ != nullptr ? prompt_state_->bytes() : 0;
  for (const Completion& completion : completions_) {
    if (completion.state != nullptr) bytes += completion.state->bytes();
  }
  return bytes;
}

void Generation::Finish(const absl::Status& status) {
  const Clock::time_point now = Clock::now();
  const bool usable = status.ok() || IsUnwanted(status);
  Finished finished;
  for (int index = 0; index < sequences(); ++index) {
    if (usable) Leave(index);
    Completion& completion = completions_[index];
    completion.state.reset();  // whoever is told that it is done finds its memory free
    finished.completions.push_back(
        {.reason = completion.sequence.finish_reason().value_or(FinishReason::kLength),
         .generated_tokens = completion.sequence.generated(),
         .logprob_sum = completion.sequence.logprob_sum(),
         .state = std::move(completion.saved)});
    finished.usage.generated_tokens += completion.sequence.generated();
  }
  prompt_state_.reset();
  finished.reason = IsUnwanted(status) ? ReasonOf(status) : finished.completions.front().reason;
  finished.usage.prompt_tokens = std::ssize(request_.prompt);
  finished.usage.cached_prompt_tokens = cached_tokens_;
  finished.timings = TimingsUntil(now);
  observer_.OnFinished(status, finished, Seconds(now - request_.arrival));
  stream_->Finish(status, finished);
}

Timings Generation::TimingsUntil(Clock::time_point now) const {
  Timings timings;
  timings.queue = Seconds(started_at_.value_or(now) - request_.arrival);
  if (!first_token_at_) return timings;
  timings.prefill = Seconds(*first_token_at_ - *started_at_);
  timings.time_to_first_token = Seconds(*first_token_at_ - request_.arrival);
  timings.decode = Seconds(*last_token_at_ - *first_token_at_);
  int64_t most = 0;
  for (const Completion& completion : completions_) {
    most = std::max(most, completion.sequence.generated());
  }
  if (most > 1) timings.mean_inter_token = timings.decode / (most - 1);
  return timings;
}

}  // namespace whipsnake::engine
