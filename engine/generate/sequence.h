// One sequence that is being generated: turns logits into deltas of its output.
#ifndef WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_
#define WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/generate/constraint_worker.h"
#include "engine/generate/generator.h"
#include "engine/generate/sampling.h"
#include "engine/generate/stop_filter.h"

namespace whipsnake::engine {

// Not thread-safe. The request, the tokenizer and the worker must outlive it.
class Sequence {
 public:
  // Completion `index` of the request. Tokens are chosen from the tokenizer's or the model's
  // vocabulary, whichever is smaller; the rest is padding.
  Sequence(const GenerationRequest* request, int index, const Tokenizer* tokenizer,
           const ModelInfo& model, ConstraintWorker* worker);

  // Whether the tokens allowed next are known. After StartSearch the worker may need some time for
  // that.
  bool ready() const { return !constrained_ || constrained_->ready(); }
  // Chooses a token from the logits of the last position and returns the output that has become
  // final. May be called only while ready() and before finish_reason() is set. Returns INTERNAL if
  // the logits are unusable, RESOURCE_EXHAUSTED if finding the allowed tokens was too costly.
  absl::StatusOr<Delta> ChooseToken(std::span<const float> logits);
  // Called after ChooseToken: starts the search for the tokens allowed next.
  void StartSearch();

  // Set once the sequence is complete: kEos, kLength or kStop.
  std::optional<FinishReason> finish_reason() const { return finish_reason_; }
  // Whether the last token ended the sequence and is not part of the text: eos, a stop token or the
  // end of a stop text.
  bool ended_by_token() const { return ended_by_token_; }
  // All chosen tokens, including the one that ended the sequence.
  const std::vector<int32_t>& output() const { return output_; }
  int64_t generated() const { return std::ssize(output_); }
  // Sum over the output if logprobs were requested, else 0.
  double logprob_sum() const { return logprob_sum_; }

 private:
  // The tokens to choose from. The result may refer to `mask`, which the call may fill.
  absl::StatusOr<TokenFilter> AllowedTokens(TokenMask& mask) const;
  std::optional<FinishReason> FinishReasonAfter(int32_t token);
  std::string FilterStopTexts(std::string text);

  const GenerationRequest& request_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopFilter stop_filter_;
  int64_t token_limit_;              // from the request and the model's positions
  std::vector<int32_t> end_tokens_;  // eos and stop tokens
  std::vector<int32_t> output_;
  double logprob_sum_ = 0;
  std::optional<ConstrainedOutput> constrained_;  // set if the request has a constraint
  bool ended_by_token_ = false;
  std::optional<FinishReason> finish_reason_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_
