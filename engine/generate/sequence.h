// One sequence being generated: from logits to the delta of its output.
#ifndef WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_
#define WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/generate/form_worker.h"
#include "engine/generate/generator.h"
#include "engine/generate/sampling.h"
#include "engine/generate/stop_filter.h"

namespace whipsnake::engine {

// Not thread-safe. The request, the tokenizer and the worker outlive it.
class Sequence {
 public:
  // The completion `index` of the request. The vocabulary to choose from is the tokenizer's or the
  // model's, whichever is smaller: the rest is padding.
  Sequence(const GenerationRequest* request, int index, const Tokenizer* tokenizer,
           const ModelInfo& model, FormWorker* worker);

  // Whether it is known what may come next; after Seek it may take the worker some time.
  bool ready() const { return !form_ || form_->ready(); }
  // Chooses a token from the logits of the last position and returns the output that became
  // certain. INTERNAL when the logits are unusable, RESOURCE_EXHAUSTED when finding what may come
  // next was too costly. Only while ready, and not once finish_reason() is set.
  absl::StatusOr<Delta> Accept(std::span<const float> logits);
  // After Accept: begins to find what may come next.
  void Seek();

  // Set once the sequence is complete: kEos, kLength or kStop.
  std::optional<FinishReason> finish_reason() const { return finish_reason_; }
  // Whether the last token ended it, and is no part of the text.
  bool EndedByToken() const { return ended_by_token_; }
  // Every token chosen, the one that ended it included.
  const std::vector<int32_t>& output() const { return output_; }
  int64_t generated() const { return std::ssize(output_); }
  // Of the output, where logprobs were asked for; else 0.
  double logprob_sum() const { return logprob_sum_; }

 private:
  // What there is to choose from; it may refer to `with_ends`, which it may fill.
  absl::StatusOr<Choice> WhatMayCome(TokenMask& with_ends) const;
  std::optional<FinishReason> ReasonToStop(int32_t token);
  std::string Filter(std::string text);

  const GenerationRequest& request_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopFilter stop_filter_;
  int64_t token_limit_;        // of the request, and of the model's positions
  std::vector<int32_t> ends_;  // eos and stop tokens
  std::vector<int32_t> output_;
  double logprob_sum_ = 0;
  std::optional<FormedOutput> form_;  // where the request has a constraint
  bool ended_by_token_ = false;
  std::optional<FinishReason> finish_reason_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_
