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

FinishReason FinishReasonOf(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) ? FinishReason::kDeadline : FinishReason::kCancelled;
}

// One integer in a hash table, or two in a tree.
constexpr int64_t kMapEntryBytes = 48;

}  // namespace

int64_t WaitingBytes(const GenerationRequest& request) {
  constexpr int64_t kRequestBytes = 1024;
  int64_t texts = 0;
  for (const std::string& text : request.stop_texts) texts += std::ssize(text) + kMapEntryBytes;
  return kRequestBytes + texts +
         std::ssize(request.prompt) * static_cast<int64_t>(sizeof(int32_t)) +
         std::ssize(request.sampling.logit_bias) * kMapEntryBytes;
}

int64_t RunningBytes(const GenerationRequest& request, const ModelInfo& model) {
  // A sampler has its own parameters, an entry for each distinct token of the prompt and of the
  // output, its n-grams if none may be repeated, and scores, weights and candidates for the
  // vocabulary.
  constexpr int64_t kSequenceBytes = 2048, kScoreBytes = 16;
  const int64_t tokens = std::ssize(request.prompt) + 2 * request.max_new_tokens;
  const int64_t ngrams = request.sampling.no_repeat_ngram_size == 0
                             ? 0
                             : std::ssize(request.prompt) + request.max_new_tokens;
  return request.completions *
         (kSequenceBytes + ngrams * RepeatedNgrams::kNgramBytes + model.vocab_size * kScoreBytes +
          (std::min(tokens, 2 * model.vocab_size) + std::ssize(request.sampling.logit_bias)) *
              kMapEntryBytes +
          request.max_new_tokens * 2 * static_cast<int64_t>(sizeof(int32_t)));
}

int64_t MaxOutputTokens(const GenerationRequest& request) {
  return request.completions * request.max_new_tokens;
}

int64_t OutputBytes(const GenerationRequest& request, int64_t tokens, int64_t max_unread_tokens) {
  // Growing vectors may have twice the capacity that they use.
  constexpr int64_t kTextAndIdBytes = 2 * 16;
  const int64_t logprobs =
      request.top_logprobs < 0
          ? 0
          : 2 * sizeof(SampledToken) + request.top_logprobs * sizeof(TokenLogprob);
  const int64_t unread = std::min(tokens, max_unread_tokens);
  const int64_t kept = request.keeps_result ? tokens : unread;
  return unread * (kTextAndIdBytes + logprobs) + kept * request.result_token_bytes +
         request.result_bytes;
}

namespace {

// The positions of a whole completion. The token chosen last is never read and needs none.
int64_t PositionsOf(const GenerationRequest& request, const ModelInfo& model) {
  const int64_t positions =
      std::ssize(request.prompt) + std::max<int64_t>(request.max_new_tokens, 1) - 1;
  return model.max_positions > 0 ? std::min(positions, model.max_positions) : positions;
}

}  // namespace

int64_t MinStateBytes(const GenerationRequest& request, const Model& model) {
  const int64_t states = request.save_state ? request.completions : 1;
  return states * model.StateBytes(PositionsOf(request, model.info()));
}

Generation::Generation(GenerationRequest request, std::shared_ptr<BufferedStream> stream,
                       Reservation booked, const GenerationEnvironment& environment)
    : request_(std::move(request)),
      stream_(std::move(stream)),
      environment_(environment),
      waiting_bytes_(std::move(booked)) {}

absl::Status Generation::CheckWanted(Clock::time_point now) const {
  if (stream_->cancelled()) return absl::CancelledError("the client cancelled the request");
  if (const int64_t unread = stream_->unread_tokens(); unread > environment_.max_unread_tokens) {
    return absl::CancelledError(absl::StrCat("the client reads too slowly: ", unread,
                                             " tokens are unread, at most ",
                                             environment_.max_unread_tokens, " are allowed"));
  }
  if (now >= request_.deadline) {
    const int64_t tokens = started() ? completions_.front().sequence.generated() : 0;
    return absl::DeadlineExceededError(
        absl::StrCat("the request's deadline passed after ", tokens, " tokens"));
  }
  return absl::OkStatus();
}

bool Generation::ready(int index) const {
  if (!started()) return true;
  if (prompt_left() == 0) return completions_[index].sequence.ready();
  return std::ranges::all_of(
      completions_, [](const Completion& completion) { return completion.sequence.ready(); });
}

// A request for no tokens leaves the prompt's last token unread, so that its state can be
// continued.
int64_t Generation::prompt_end() const {
  return std::ssize(request_.prompt) - (request_.max_new_tokens == 0 ? 1 : 0);
}

bool Generation::needs_replay(int index) const {
  const bool without =
      started() && prompt_left() == 0 && !complete(index) && completions_[index].state == nullptr;
  return without && (prompt_state_ == nullptr || completions_[index].sequence.generated() > 1);
}

int64_t Generation::length(int index) const {
  return std::ssize(request_.prompt) + completions_[index].sequence.generated();
}

absl::StatusOr<int64_t> Generation::PrepareState(int index, Clock::time_point now) {
  if (!started()) {
    RETURN_IF_ERROR(Start(now));
    return cached_tokens_;
  }
  Completion& completion = completions_[index];
  if (prompt_left() > 0 || complete(index) || completion.state != nullptr) return 0;
  std::vector<int32_t> replay_tokens;
  if (needs_replay(index)) replay_tokens = TokensOf(completion, length(index));
  if (prompt_state_ != nullptr) {
    RETURN_IF_ERROR(Fork(completion));
  } else {
    bool hit = false;
    ASSIGN_OR_RETURN(completion.state, LongestPrefixState(replay_tokens, hit));
  }
  completion.replay_tokens = std::move(replay_tokens);
  return completion.replay_tokens.empty() ? 0 : completion.state->position();
}

absl::StatusOr<std::unique_ptr<State>> Generation::LongestPrefixState(
    std::span<const int32_t> tokens, bool& hit) {
  const auto copy = [&](const State* state, int64_t length) {
    auto result = state == nullptr ? environment_.model.NewState() : state->CloneAt(length);
    if (!result.ok()) return result;
    const absl::Status room = (*result)->MakeRoom(PositionsOf(request_, environment_.model.info()));
    return room.ok() ? std::move(result) : room;
  };
  const State* saved = request_.resume != nullptr ? request_.resume->state.get() : nullptr;
  const int64_t saved_length = saved != nullptr ? saved->position() : 0;
  if (PrefixCache::Match found = environment_.cache.Find(tokens); found.state != nullptr) {
    hit = true;
    if (found.length >= saved_length) {
      auto state = copy(found.state.get(), found.length);
      if (!absl::IsResourceExhausted(state.status())) return state;
      // The failed allocation has emptied the cache. What was found is freed at the end of this
      // block.
    }
  }
  return copy(saved, saved_length);
}

absl::Status Generation::Start(Clock::time_point now) {
  Reservation running, output;
  if (Ledger* ledger = environment_.ledger; ledger != nullptr) {
    const int64_t running_bytes = RunningBytes(request_, environment_.model.info());
    const int64_t output_bytes =
        OutputBytes(request_, MaxOutputTokens(request_), environment_.max_unread_tokens);
    ASSIGN_OR_RETURN(running, ledger->Reserve(running_bytes, Purpose::kRequests, "a request"));
    ASSIGN_OR_RETURN(output,
                     ledger->Reserve(output_bytes, Purpose::kRequests, "the output of a request"));
  }
  bool hit = false;
  ASSIGN_OR_RETURN(prompt_state_, LongestPrefixState(request_.prompt, hit));
  running_bytes_ = std::move(running);
  completions_.reserve(sequences());
  for (int index = 0; index < sequences(); ++index) {
    completions_.push_back({.sequence{&request_, index, &environment_.tokenizer,
                                      environment_.model.info(), &environment_.constraint_worker}});
  }
  cached_tokens_ = prompt_position_ = completions_.front().cached_position =
      prompt_state_->position();
  started_at_ = now;
  environment_.observer.OnStarted(Seconds(now - request_.arrival));
  if (environment_.cache.options().max_bytes > 0) environment_.observer.OnCacheLookup(hit);
  stream_->Start(cached_tokens_, std::move(output));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<State>> Generation::CopyPromptState() const {
  ASSIGN_OR_RETURN(std::unique_ptr<State> state, prompt_state_->Clone());
  RETURN_IF_ERROR(state->MakeRoom(PositionsOf(request_, environment_.model.info())));
  return state;
}

// The last completion takes the prompt's state itself, unless the cache or a saved state shares it.
// So does a completion for whose copy there is no memory, if no other runs that could return some.
absl::Status Generation::Fork(Completion& completion) {
  const auto waits = [&](const Completion& other) {
    return &other != &completion && other.state == nullptr && !other.sequence.finish_reason();
  };
  const bool is_last = std::ranges::none_of(completions_, waits);
  if (!is_last || prompt_state_.use_count() > 1) {
    absl::StatusOr<std::unique_ptr<State>> copy = CopyPromptState();
    if (copy.ok()) {
      completion.state = *std::move(copy);
      if (is_last) std::exchange(prompt_state_, nullptr)->ReleaseRoom();
      return absl::OkStatus();
    }
    // The failed allocation has emptied the cache, which may have shared the state.
    const bool others_run = std::ranges::any_of(
        completions_, [](const Completion& other) { return other.state != nullptr; });
    if (others_run || prompt_state_.use_count() > 1) return copy.status();
  }
  completion.state = std::move(prompt_state_);
  return absl::OkStatus();
}

bool Generation::ReleaseState(int index) {
  Completion& completion = completions_[index];
  const auto others = std::ranges::count_if(
      completions_, [&](const Completion& c) { return &c != &completion && c.state != nullptr; });
  if (completion.state == nullptr || others == 0 || complete(index)) return false;
  completion.state.reset();
  completion.replay_tokens.clear();
  return true;
}

Run Generation::NextRun(int index, int64_t prompt_tokens) const {
  const Completion& completion = completions_[index];
  if (!completion.replay_tokens.empty()) {
    const int64_t begin = completion.state->position();
    const auto tokens =
        std::span(completion.replay_tokens).subspan(begin, std::max<int64_t>(prompt_tokens, 1));
    const bool last = begin + std::ssize(tokens) == std::ssize(completion.replay_tokens);
    return {tokens, completion.state.get(), last ? LogitsOf::kLast : LogitsOf::kNone};
  }
  if (prompt_tokens == 0) {
    return {{&completion.sequence.output().back(), 1}, completion.state.get(), LogitsOf::kLast};
  }
  const auto tokens = std::span(request_.prompt).subspan(prompt_position_, prompt_tokens);
  const bool last = prompt_position_ + prompt_tokens == std::ssize(request_.prompt);
  return {tokens, prompt_state_.get(), last ? LogitsOf::kLast : LogitsOf::kNone};
}

absl::Status Generation::ChooseTokens(int index, std::span<const float> logits) {
  if (logits.empty()) return absl::OkStatus();
  if (completions_[index].state != nullptr) return ChooseToken(index, logits);
  for (int i = 0; i < sequences(); ++i) RETURN_IF_ERROR(ChooseToken(i, logits));
  return absl::OkStatus();
}

absl::Status Generation::ChooseToken(int index, std::span<const float> logits) {
  Completion& completion = completions_[index];
  ASSIGN_OR_RETURN(completion.delta, completion.sequence.ChooseToken(logits));
  completion.delta.index = index;
  return absl::OkStatus();
}

void Generation::Advance(int index, int64_t prompt_tokens) {
  Completion& completion = completions_[index];
  if (completion.state != nullptr) {
    // While tokens are read again, only the logits of the last one are new.
    if (completion.state->position() < std::ssize(completion.replay_tokens)) return;
    completion.replay_tokens.clear();
    CacheState(completion, completion.state);
    return EmitDelta(index);
  }
  prompt_position_ += prompt_tokens;
  CacheState(completions_.front(), prompt_state_);
  if (prompt_position_ < std::ssize(request_.prompt)) return;
  for (int i = 0; i < sequences(); ++i) EmitDelta(i);
}

void Generation::EmitDelta(int index) {
  Completion& completion = completions_[index];
  completion.sequence.StartSearch();
  const Clock::time_point now = Clock::now();
  if (completion.last_token_at) {
    environment_.observer.OnInterToken(Seconds(now - *completion.last_token_at));
  } else if (!first_token_at_) {
    first_token_at_ = now;
    environment_.observer.OnFirstToken(Seconds(now - request_.arrival));
  }
  last_token_at_ = completion.last_token_at = now;
  stream_->Append(std::exchange(completion.delta, Delta()));
}

// Inserts a copy into the cache every interval_tokens; the state itself continues.
void Generation::CacheState(Completion& completion, const std::shared_ptr<State>& state) {
  const PrefixCacheOptions& options = environment_.cache.options();
  if (state->bytes() > options.max_bytes) return;
  if (state->position() - completion.cached_position < options.interval_tokens) return;
  completion.cached_position = state->position();
  auto copy = state->Clone();
  if (copy.ok())
    environment_.cache.Insert(TokensOf(completion, state->position()), *std::move(copy));
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
  return started() && completions_[index].sequence.finish_reason().has_value();
}

bool Generation::complete() const {
  for (int index = 0; index < sequences(); ++index) {
    if (!complete(index)) return false;
  }
  return true;
}

bool Generation::AnyNeedsPromptState() const {
  for (int index = 0; index < sequences(); ++index) {
    if (!complete(index) && completions_[index].state == nullptr) return true;
  }
  return false;
}

void Generation::StoreState(int index) {
  Completion& completion = completions_[index];
  // A completion that ended with its first token, or was asked for none, never ran on its own.
  const std::shared_ptr<State> state =
      completion.state != nullptr ? std::move(completion.state) : prompt_state_;
  if (state == nullptr) return;
  // The prompt's state keeps its room for a completion that will take it over.
  if (state != prompt_state_ || !AnyNeedsPromptState()) state->ReleaseRoom();
  if (request_.save_state && complete(index) && completion.saved == nullptr) {
    completion.saved = MakeSavedState(completion, state);
  }
  environment_.cache.Insert(TokensOf(completion, state->position()), state);
}

std::shared_ptr<const SavedState> Generation::MakeSavedState(
    const Completion& completion, const std::shared_ptr<State>& state) const {
  const int64_t all = std::ssize(request_.prompt) + completion.sequence.generated();
  const int64_t kept = completion.sequence.ended_by_token() ? all - 1 : all;
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
  const bool keeps_states = status.ok() || IsUnwanted(status);
  Finished finished;
  finished.completions.resize(sequences());
  for (int index = 0; index < std::ssize(completions_); ++index) {
    if (keeps_states) StoreState(index);
    Completion& completion = completions_[index];
    completion.state.reset();  // free the state before reporting completion
    finished.completions[index] = {
        .reason = completion.sequence.finish_reason().value_or(FinishReason::kLength),
        .generated_tokens = completion.sequence.generated(),
        .logprob_sum = completion.sequence.logprob_sum(),
        .state = std::move(completion.saved)};
    finished.usage.generated_tokens += completion.sequence.generated();
  }
  if (prompt_state_ != nullptr) std::exchange(prompt_state_, nullptr)->ReleaseRoom();
  running_bytes_ = Reservation();
  waiting_bytes_ = Reservation();
  finished.reason =
      IsUnwanted(status) ? FinishReasonOf(status) : finished.completions.front().reason;
  finished.usage.prompt_tokens = std::ssize(request_.prompt);
  finished.usage.cached_prompt_tokens = cached_tokens_;
  finished.timings = TimingsUntil(now);
  environment_.observer.OnFinished(status, finished, Seconds(now - request_.arrival));
  stream_->Finish(
      status, finished,
      OutputBytes(request_, finished.usage.generated_tokens, environment_.max_unread_tokens));
}

Timings Generation::TimingsUntil(Clock::time_point now) const {
  Timings timings;
  timings.queue = Seconds(started_at_.value_or(now) - request_.arrival);
  if (!first_token_at_) return timings;
  timings.prefill = Seconds(*first_token_at_ - *started_at_);
  timings.time_to_first_token = Seconds(*first_token_at_ - request_.arrival);
  timings.decode = Seconds(*last_token_at_ - *first_token_at_);
  int64_t max_generated = 0;
  for (const Completion& completion : completions_) {
    max_generated = std::max(max_generated, completion.sequence.generated());
  }
  if (max_generated > 1) timings.mean_inter_token = timings.decode / (max_generated - 1);
  return timings;
}

}  // namespace whipsnake::engine
