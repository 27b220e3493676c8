// One request on its way through a model: its state, its output, its times.
#ifndef WHIPSNAKE_ENGINE_GENERATE_GENERATION_H_
#define WHIPSNAKE_ENGINE_GENERATE_GENERATION_H_

#include <memory>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "engine/generate/generator.h"
#include "engine/generate/sequence.h"
#include "engine/generate/stream.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// Not thread-safe, but for what its stream allows. The tokenizer and the observer outlive it.
class Generation {
 public:
  Generation(GenerationRequest request, std::shared_ptr<BufferedStream> stream,
             const Tokenizer* tokenizer, const ModelInfo& model, GenerationObserver* observer);

  const GenerationRequest& request() const { return request_; }

  // Why nobody wants the result any more (CANCELLED, DEADLINE_EXCEEDED), or OK.
  absl::Status CheckWanted(Clock::time_point now) const;

  bool started() const { return state_ != nullptr; }
  // RESOURCE_EXHAUSTED when there is no memory for its state; then nothing has changed.
  absl::Status Start(Model& model, Clock::time_point now);

  // Its run in a step: the next `prompt_tokens` of its prompt, or the token chosen last. Valid
  // until Advance.
  Run NextRun(int64_t prompt_tokens) const;
  // The step is done. `logits` are those that NextRun asked for: empty, or one row. Chooses the
  // next token and hands its output over. INTERNAL when the logits are unusable.
  absl::Status Advance(int64_t prompt_tokens, std::span<const float> logits);
  // Every token has been chosen: eos, length or stop.
  bool complete() const { return sequence_.finish_reason().has_value(); }

  // Ends the stream, with the sequence's own reason if `status` is OK. The last call.
  void Finish(const absl::Status& status);

 private:
  int64_t prompt_left() const { return std::ssize(request_.prompt) - read_; }
  Timings TimingsUntil(Clock::time_point now) const;

  const GenerationRequest request_;
  const std::shared_ptr<BufferedStream> stream_;
  GenerationObserver& observer_;
  Sequence sequence_;
  std::unique_ptr<State> state_;
  int64_t read_ = 0;         // tokens of the prompt that the state has seen
  int32_t last_token_ = -1;  // chosen, not yet seen
  std::optional<Clock::time_point> started_at_, first_token_at_, last_token_at_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_GENERATION_H_
