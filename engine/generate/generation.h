// One request on its way through a model: its prompt, its completions, its times.
#ifndef WHIPSNAKE_ENGINE_GENERATE_GENERATION_H_
#define WHIPSNAKE_ENGINE_GENERATE_GENERATION_H_

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/generate/generator.h"
#include "engine/generate/prefix_cache.h"
#include "engine/generate/sequence.h"
#include "engine/generate/stream.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// What generations work with; all of it outlives them.
struct GenerationEnvironment {
  const Tokenizer& tokenizer;
  Model& model;
  PrefixCache& cache;
  FormWorker& form_worker;
  GenerationObserver& observer;
  Ledger* ledger = nullptr;  // books what it holds besides states; null: nobody does
  int64_t max_unread_tokens = 0;
};

// Bytes that a request needs: while it waits; from its start to its end, for samplers and tokens;
// from its start until the output has been taken, for that, where it is of so many tokens in all;
// and of the states without which it does not end, one in which its completions take turns, or one
// for each where all are saved.
int64_t MostOutputTokens(const GenerationRequest& request);
int64_t WaitingBytes(const GenerationRequest& request);
int64_t RunningBytes(const GenerationRequest& request, const ModelInfo& model);
int64_t OutputBytes(const GenerationRequest& request, int64_t tokens, int64_t max_unread_tokens);
int64_t LeastStateBytes(const GenerationRequest& request, const Model& model);

// Its sequences have the indices of the completions. The first reads the prompt; when that is read
// each has its first token, and goes its own way from a copy of the state.
//
// A generation that has started holds at least one state with room for a whole completion, so it
// can always be finished: a completion for whose copy there is no memory goes on in the prompt's
// own state where no other runs. A completion that has lost its state reads its tokens again.
//
// Not thread-safe, but for what its stream allows.
class Generation {
 public:
  // `booked` are its WaitingBytes().
  Generation(GenerationRequest request, std::shared_ptr<BufferedStream> stream, Reservation booked,
             const GenerationEnvironment& environment);

  const GenerationRequest& request() const { return request_; }
  int sequences() const { return request_.completions; }

  // Why nobody wants the result any more (CANCELLED, DEADLINE_EXCEEDED), or OK.
  absl::Status CheckWanted(Clock::time_point now) const;

  bool started() const { return started_at_.has_value(); }
  int64_t waiting_bytes() const { return waiting_bytes_.bytes(); }  // booked
  // Once it has started, the prompt's tokens that needed no computing.
  int64_t cached_tokens() const { return cached_tokens_; }
  int64_t prompt_left() const { return prompt_end() - read_; }  // tokens to be read
  // Whether a sequence can take part in a step: what may come next in its output is known, and in
  // every output that chooses a token when the prompt is read. True before the start, which begins
  // to find out.
  bool ready(int index) const;

  // Whether the sequence has lost its state, and reads all of its length() tokens again.
  bool reads_again(int index) const;
  int64_t length(int index) const;

  // Gives a sequence the state that its next run needs. Returns how many of the tokens that it is
  // about to read the state has seen already. RESOURCE_EXHAUSTED when there is no memory for it;
  // then nothing has changed.
  absl::StatusOr<int64_t> Prepare(int index, Clock::time_point now);

  // Gives the sequence's state back to the ledger, unless the generation has no other. Afterwards
  // the sequence reads again.
  bool GiveUp(int index);

  // The run of a prepared sequence that is not complete: the next `prompt_tokens` of the prompt, or
  // of what it reads again; or the token that it chose last. Valid until Advance.
  Run NextRun(int index, int64_t prompt_tokens) const;
  // The step is done. `logits` are those that NextRun asked for: empty, or one row. Chooses the
  // next token, of every sequence where the prompt has just been read. May be called for different
  // sequences from different threads at once. INTERNAL when the logits are unusable.
  absl::Status Choose(int index, std::span<const float> logits);
  // After Choose: hands over what was chosen.
  void Advance(int index, int64_t prompt_tokens);

  // Every token of it has been chosen: eos, length or stop.
  bool complete(int index) const;
  bool complete() const;
  // Gives the state of a complete sequence away: to the cache.
  void Leave(int index);

  // States that it holds.
  int64_t state_bytes() const;

  // Ends the stream, with the sequences' own reasons if `status` is OK. The last call.
  void Finish(const absl::Status& status);

 private:
  struct Completion {
    Sequence sequence;
    std::shared_ptr<State> state = nullptr;  // once it runs by itself
    std::vector<int32_t> again = {};         // all tokens so far, while they are read again
    int64_t remembered = 0;                  // the position of the state that the cache has
    Delta delta = {};                        // chosen, not yet handed over
    std::optional<Clock::time_point> last_token_at = std::nullopt;
    std::shared_ptr<const SavedState> saved = nullptr;
  };

  int64_t prompt_end() const;
  absl::Status Start(Clock::time_point now);
  absl::Status Fork(Completion& completion);
  // A state that has seen a beginning of `tokens`, the longest that is known, with room for a whole
  // completion. `hit`: whether the cache had it.
  absl::StatusOr<std::unique_ptr<State>> NearestState(std::span<const int32_t> tokens, bool& hit);
  // Whether a completion has still to take a copy of the prompt's state, or the state itself.
  bool AnyWaitsForPromptState() const;
  absl::StatusOr<std::unique_ptr<State>> CopyOfPromptState() const;
  absl::Status ChooseNext(int index, std::span<const float> logits);
  void HandOver(int index);
  void Remember(Completion& completion, const std::shared_ptr<State>& state);
  std::vector<int32_t> TokensOf(const Completion& completion, int64_t count) const;
  std::shared_ptr<const SavedState> Save(const Completion& completion,
                                         const std::shared_ptr<State>& state) const;
  Timings TimingsUntil(Clock::time_point now) const;

  const GenerationRequest request_;
  const std::shared_ptr<BufferedStream> stream_;
  const GenerationEnvironment environment_;
  Reservation waiting_bytes_, running_bytes_;
  std::vector<Completion> completions_;  // once it has started
  std::shared_ptr<State> prompt_state_;  // until each completion has its own
  int64_t read_ = 0;                     // tokens of the prompt that it has seen
  int64_t cached_tokens_ = 0;
  std::optional<Clock::time_point> started_at_, first_token_at_, last_token_at_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_GENERATION_H_
