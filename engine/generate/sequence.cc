#include "engine/generate/sequence.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

bool Contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

int64_t TokenLimit(const GenerationRequest& request, const ModelInfo& model) {
  if (model.max_positions == 0) return request.max_new_tokens;
  // The last token chosen needs no position of its own.
  return std::min(request.max_new_tokens,
                  model.max_positions - static_cast<int64_t>(request.prompt.size()) + 1);
}

}  // namespace

Sequence::Sequence(const GenerationRequest* request, const Tokenizer* tokenizer,
                   const ModelInfo& model)
    : request_(*request),
      sampler_(request->sampling, std::min<int64_t>(tokenizer->size(), model.vocab_size),
               request->prompt),
      decoder_(tokenizer),
      stop_filter_(request->stop_texts),
      token_limit_(TokenLimit(*request, model)) {}

absl::StatusOr<Delta> Sequence::Accept(std::span<const float> logits) {
  ASSIGN_OR_RETURN(SampledToken sampled, sampler_.Next(logits, request_.top_logprobs));
  const int32_t token = last_token_ = sampled.id;
  ++generated_;
  Delta delta;
  delta.token_ids.push_back(token);
  if (request_.top_logprobs >= 0) delta.logprobs.push_back(std::move(sampled));

  finish_reason_ = ReasonToStop(token);
  const bool has_text =
      finish_reason_ != FinishReason::kEos && finish_reason_ != FinishReason::kStop;
  if (has_text) delta.text = stop_filter_.Push(decoder_.Push(token));
  if (finish_reason_ && !stop_filter_.stopped()) {
    delta.text += stop_filter_.Push(decoder_.Finish());
    if (!stop_filter_.stopped()) delta.text += stop_filter_.Finish();
  }
  if (stop_filter_.stopped()) finish_reason_ = FinishReason::kStop;
  return delta;
}

std::optional<FinishReason> Sequence::ReasonToStop(int32_t token) const {
  if (Contains(request_.eos_token_ids, token)) return FinishReason::kEos;
  if (Contains(request_.stop_token_ids, token)) return FinishReason::kStop;
  if (generated_ >= token_limit_) return FinishReason::kLength;
  return std::nullopt;
}

}  // namespace whipsnake::engine
