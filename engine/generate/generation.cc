#include "engine/generate/generation.h"

#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

FinishReason ReasonOf(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) ? FinishReason::kDeadline : FinishReason::kCancelled;
}

bool IsUnwanted(const absl::Status& status) {
  return absl::IsCancelled(status) || absl::IsUnavailable(status) ||
         absl::IsDeadlineExceeded(status);
}

}  // namespace

Generation::Generation(GenerationRequest request, std::shared_ptr<BufferedStream> stream,
                       const Tokenizer* tokenizer, const ModelInfo& model,
                       GenerationObserver* observer)
    : request_(std::move(request)),
      stream_(std::move(stream)),
      observer_(*observer),
      sequence_(&request_, tokenizer, model) {}

absl::Status Generation::CheckWanted(Clock::time_point now) const {
  if (stream_->cancelled()) return absl::CancelledError("the client cancelled the request");
  if (now >= request_.deadline) {
    return absl::DeadlineExceededError(
        absl::StrCat("the request's deadline passed after ", sequence_.generated(), " tokens"));
  }
  return absl::OkStatus();
}

absl::Status Generation::Start(Model& model, Clock::time_point now) {
  ASSIGN_OR_RETURN(state_, model.NewState());
  started_at_ = now;
  observer_.OnStarted(Seconds(now - request_.arrival));
  stream_->Start();
  return absl::OkStatus();
}

Run Generation::NextRun(int64_t prompt_tokens) const {
  if (prompt_tokens == 0) return {{&last_token_, 1}, state_.get(), LogitsOf::kLast};
  const auto tokens = std::span(request_.prompt).subspan(read_, prompt_tokens);
  const bool last = prompt_tokens == prompt_left();
  return {tokens, state_.get(), last ? LogitsOf::kLast : LogitsOf::kNone};
}

absl::Status Generation::Advance(int64_t prompt_tokens, std::span<const float> logits) {
  read_ += prompt_tokens;
  if (prompt_left() > 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(Delta delta, sequence_.Accept(logits));
  last_token_ = sequence_.last_token();
  const Clock::time_point now = Clock::now();
  if (last_token_at_) {
    observer_.OnInterToken(Seconds(now - *last_token_at_));
  } else {
    first_token_at_ = now;
    observer_.OnFirstToken(Seconds(now - request_.arrival));
  }
  last_token_at_ = now;
  stream_->Append(std::move(delta));
  return absl::OkStatus();
}

void Generation::Finish(const absl::Status& status) {
  const Clock::time_point now = Clock::now();
  state_.reset();  // whoever is told that it is done finds its memory free
  Finished finished;
  if (IsUnwanted(status)) {
    finished.reason = ReasonOf(status);
  } else {
    finished.reason = sequence_.finish_reason().value_or(FinishReason::kLength);
  }
  finished.usage.prompt_tokens = std::ssize(request_.prompt);
  finished.usage.generated_tokens = sequence_.generated();
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
  if (sequence_.generated() > 1) {
    timings.mean_inter_token = timings.decode / (sequence_.generated() - 1);
  }
  return timings;
}

}  // namespace whipsnake::engine
