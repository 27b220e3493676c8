// One request in progress: its prompt, its completions and its timings.
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

// The objects that all generations of a model share. They must outlive the generations.
struct GenerationEnvironment {
  const Tokenizer& tokenizer;
  Model& model;
  PrefixCache& cache;
  ConstraintWorker& constraint_worker;
  GenerationObserver& observer;
  Ledger* ledger = nullptr;  // books memory other than states; null: nothing is booked
  int64_t max_unread_tokens = 0;
};

// The most tokens that a request can generate, in all of its completions together.
int64_t MaxOutputTokens(const GenerationRequest& request);
// Bytes that a request holds from its arrival to its end.
int64_t WaitingBytes(const GenerationRequest& request);
// Bytes for samplers and tokens, held from its start to its end.
int64_t RunningBytes(const GenerationRequest& request, const ModelInfo& model);
// Bytes for an output of `tokens` tokens in all, held from its start until the stream is destroyed.
int64_t OutputBytes(const GenerationRequest& request, int64_t tokens, int64_t max_unread_tokens);
// Bytes of the states that a request needs to finish: one state that its completions use in turn,
// or one state per completion if all are saved.
int64_t MinStateBytes(const GenerationRequest& request, const Model& model);

// Its sequences have the indices of the completions. The first one reads the prompt. When the
// prompt has been read, each sequence gets its first token and continues on its own from a copy of
// the state.
//
// A generation that has started holds at least one state with room for a whole completion, so it
// can always finish: if there is no memory to copy the prompt's state for a completion, the
// completion uses that state itself when no other runs. A completion that has lost its state reads
// its tokens again.
//
// Not thread-safe, except for the operations that its stream allows.
class Generation {
 public:
  // `booked` holds the request's WaitingBytes().
  Generation(GenerationRequest request, std::shared_ptr<BufferedStream> stream, Reservation booked,
             const GenerationEnvironment& environment);

  const GenerationRequest& request() const { return request_; }
  int sequences() const { return request_.completions; }

  // CANCELLED or DEADLINE_EXCEEDED if the result is no longer wanted, else OK.
  absl::Status CheckWanted(Clock::time_point now) const;

  bool started() const { return started_at_.has_value(); }
  int64_t waiting_bytes() const { return waiting_bytes_.bytes(); }  // booked
  // The prompt tokens that needed no computation. Valid once started.
  int64_t cached_tokens() const { return cached_tokens_; }
  // Prompt tokens still to be read.
  int64_t prompt_left() const { return prompt_end() - prompt_position_; }
  // Whether a sequence can take part in a step: the tokens allowed next are known for its own
  // output or, while the prompt is being read, for all outputs, as each chooses a token at the
  // prompt's end. True before the start, which begins the search for them.
  bool ready(int index) const;

  // Whether the sequence has lost its state and must read all of its length() tokens again.
  bool needs_replay(int index) const;
  int64_t length(int index) const;

  // Gives a sequence the state for its next run. Returns how many of the tokens that it is about to
  // read the state has already seen. Returns RESOURCE_EXHAUSTED if there is no memory; nothing has
  // changed then.
  absl::StatusOr<int64_t> PrepareState(int index, Clock::time_point now);

  // Returns the sequence's state to the ledger. The sequence later reads its tokens again or, if it
  // has not run since the prompt, takes another copy of the prompt's state. Returns false, changing
  // nothing, if the sequence has no state or is complete, or if no other sequence has a state.
  bool ReleaseState(int index);

  // The run of a prepared sequence that is not complete: the next `prompt_tokens` tokens of the
  // prompt or of those that it reads again or, with 0, the token chosen last. Valid until Advance.
  Run NextRun(int index, int64_t prompt_tokens) const;
  // Called after the step. `logits` are those that NextRun requested: empty, or one row. Chooses
  // the next token of the sequence or, if the prompt has just been read, of all sequences.
  // Different sequences may be passed from different threads at once. Errors as from
  // Sequence::ChooseToken.
  absl::Status ChooseTokens(int index, std::span<const float> logits);
  // Called after ChooseTokens: appends the chosen tokens to the stream.
  void Advance(int index, int64_t prompt_tokens);

  // Whether all tokens of the sequence, or of all sequences, have been chosen: they ended with eos,
  // length or stop.
  bool complete(int index) const;
  bool complete() const;
  // Moves the sequence's state to the cache, and saves it first if the request asks for that and
  // the sequence is complete.
  void StoreState(int index);

  // Bytes of the states that it holds.
  int64_t state_bytes() const;

  // Ends the stream, with the sequences' own reasons if `status` is OK. Must be the last call.
  void Finish(const absl::Status& status);

 private:
  struct Completion {
    Sequence sequence;
    std::shared_ptr<State> state = nullptr;   // set while it runs on its own
    std::vector<int32_t> replay_tokens = {};  // all tokens so far, while they are read again
    int64_t cached_position = 0;              // position of its last state in the cache
    Delta delta = {};                         // chosen, not yet appended to the stream
    std::optional<Clock::time_point> last_token_at = std::nullopt;
    std::shared_ptr<const SavedState> saved = nullptr;
  };

  int64_t prompt_end() const;
  absl::Status Start(Clock::time_point now);
  absl::Status Fork(Completion& completion);
  // A new state, with room for a whole completion, that has seen the longest known prefix of
  // `tokens`: from the cache, from the resumed state, or empty. Sets `hit` if the cache had a
  // prefix.
  absl::StatusOr<std::unique_ptr<State>> LongestPrefixState(std::span<const int32_t> tokens,
                                                            bool& hit);
  // Whether a completion still has to take a copy of the prompt's state, or the state itself.
  bool AnyNeedsPromptState() const;
  absl::StatusOr<std::unique_ptr<State>> CopyPromptState() const;
  absl::Status ChooseToken(int index, std::span<const float> logits);
  void EmitDelta(int index);
  void CacheState(Completion& completion, const std::shared_ptr<State>& state);
  std::vector<int32_t> TokensOf(const Completion& completion, int64_t count) const;
  std::shared_ptr<const SavedState> MakeSavedState(const Completion& completion,
                                                   const std::shared_ptr<State>& state) const;
  Timings TimingsUntil(Clock::time_point now) const;

  const GenerationRequest request_;
  const std::shared_ptr<BufferedStream> stream_;
  const GenerationEnvironment environment_;
  Reservation waiting_bytes_, running_bytes_;
  std::vector<Completion> completions_;  // empty until it has started
  std::shared_ptr<State> prompt_state_;  // null once each completion has its own
  int64_t prompt_position_ = 0;          // prompt tokens that prompt_state_ has seen
  int64_t cached_tokens_ = 0;
  std::optional<Clock::time_point> started_at_, first_token_at_, last_token_at_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_GENERATION_H_
