// One sequence being generated: from logits to the delta of its output.
#ifndef WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_
#define WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "engine/generate/generator.h"
#include "engine/generate/sampling.h"
#include "engine/generate/stop_filter.h"

namespace whipsnake::engine {

// Not thread-safe. The request and the tokenizer outlive it.
class Sequence {
 public:
  // The vocabulary to choose from is the tokenizer's or the model's, whichever is smaller: the rest
  // is padding.
  Sequence(const GenerationRequest* request, const Tokenizer* tokenizer, const ModelInfo& model);

  // Chooses a token from the logits of the last position and returns the output that became
  // certain. INTERNAL when the logits are unusable. Not to be called once finish_reason() is set.
  absl::StatusOr<Delta> Accept(std::span<const float> logits);

  // Set once the sequence is complete: kEos, kLength or kStop.
  std::optional<FinishReason> finish_reason() const { return finish_reason_; }
  // The token chosen last, which the model has yet to see.
  int32_t last_token() const { return last_token_; }
  int64_t generated() const { return generated_; }

 private:
  std::optional<FinishReason> ReasonToStop(int32_t token) const;

  const GenerationRequest& request_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopFilter stop_filter_;
  int64_t token_limit_;  // of the request, and of the model's positions
  int64_t generated_ = 0;
  int32_t last_token_ = -1;
  std::optional<FinishReason> finish_reason_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_SEQUENCE_H_
