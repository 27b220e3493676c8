#include "engine/generate/sequence.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/models/logits.h"

namespace whipsnake::engine {
namespace {

bool Contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

int64_t TokenLimit(const GenerationRequest& request, const ModelInfo& model) {
  if (model.max_positions == 0) return request.max_new_tokens;
  // The token chosen last needs no position.
  return std::min(request.max_new_tokens,
                  model.max_positions - static_cast<int64_t>(request.prompt.size()) + 1);
}

SamplingParameters SamplingOf(const GenerationRequest& request, int index) {
  SamplingParameters sampling = request.sampling;
  sampling.completion_index = index;
  return sampling;
}

}  // namespace

Sequence::Sequence(const GenerationRequest* request, int index, const Tokenizer* tokenizer,
                   const ModelInfo& model, ConstraintWorker* worker)
    : request_(*request),
      sampler_(SamplingOf(*request, index), KnownTokens(model, tokenizer->size()), request->prompt),
      decoder_(tokenizer),
      stop_filter_(request->stop_texts),
      token_limit_(TokenLimit(*request, model)),
      end_tokens_(request->eos_token_ids) {
  end_tokens_.insert(end_tokens_.end(), request->stop_token_ids.begin(),
                     request->stop_token_ids.end());
  if (request_.constraint != nullptr) constrained_.emplace(request_.constraint, worker);
  StartSearch();
}

void Sequence::StartSearch() {
  if (constrained_ && !finish_reason_) constrained_->StartSearch(token_limit_ - generated());
}

absl::StatusOr<TokenFilter> Sequence::AllowedTokens(TokenMask& mask) const {
  if (!constrained_) {
    if (generated() >= request_.min_new_tokens) return TokenFilter{};
    return TokenFilter{.allowed = {}, .banned = end_tokens_};
  }
  RETURN_IF_ERROR(constrained_->next().status());
  const NextTokens& next = **constrained_->next();
  if (!next.complete) return TokenFilter{.allowed = next.allowed, .banned = end_tokens_};
  mask = next.allowed;
  for (const int32_t end : end_tokens_) {
    if (end / 64 < std::ssize(mask)) mask[end / 64] |= uint64_t{1} << (end % 64);
  }
  return TokenFilter{.allowed = mask, .banned = {}};
}

absl::StatusOr<Delta> Sequence::ChooseToken(std::span<const float> logits) {
  TokenMask mask;
  ASSIGN_OR_RETURN(const TokenFilter filter, AllowedTokens(mask));
  ASSIGN_OR_RETURN(SampledToken sampled, sampler_.Sample(logits, request_.top_logprobs, filter));
  const int32_t token = sampled.id;
  output_.push_back(token);
  logprob_sum_ += sampled.logprob;
  Delta delta;
  delta.token_ids.push_back(token);
  if (request_.top_logprobs >= 0) delta.logprobs.push_back(std::move(sampled));

  finish_reason_ = FinishReasonAfter(token);
  if (!ended_by_token_) delta.text = FilterStopTexts(decoder_.Push(token));
  if (finish_reason_ && !stop_filter_.stopped()) {
    delta.text += FilterStopTexts(decoder_.Finish());
    if (!stop_filter_.stopped()) delta.text += stop_filter_.Finish();
  }
  if (stop_filter_.stopped()) {
    finish_reason_ = FinishReason::kStop;
    ended_by_token_ = true;
  }
  return delta;
}

std::string Sequence::FilterStopTexts(std::string text) {
  // Text before min_new_tokens is neither a stop text nor the beginning of one.
  return generated() < request_.min_new_tokens ? text : stop_filter_.Push(text);
}

std::optional<FinishReason> Sequence::FinishReasonAfter(int32_t token) {
  ended_by_token_ = Contains(end_tokens_, token);
  if (Contains(request_.eos_token_ids, token)) return FinishReason::kEos;
  if (Contains(request_.stop_token_ids, token)) return FinishReason::kStop;
  if (constrained_) {
    if (Contains((*constrained_->next())->last, token)) return FinishReason::kEos;
    constrained_->Advance(token);
  }
  if (generated() >= token_limit_) return FinishReason::kLength;
  return std::nullopt;
}

}  // namespace whipsnake::engine
