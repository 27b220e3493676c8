// Generation: from a request to a stream of text, one model's requests in one place.
//
// Generator is what the server sees: requests go in, streams come out, and behind it the sequences
// of all of them share each forward pass (batcher.h).
#ifndef WHIPSNAKE_ENGINE_GENERATE_GENERATOR_H_
#define WHIPSNAKE_ENGINE_GENERATE_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/generate/batcher.h"
#include "engine/generate/prefix_cache.h"
#include "engine/generate/sampling.h"
#include "engine/generate/saved_state.h"
#include "engine/models/model.h"
#include "engine/structured/constraint.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

enum class FinishReason { kEos, kLength, kStop, kCancelled, kDeadline };
std::string_view Name(FinishReason reason);  // "eos", "length", "stop", "cancelled", "deadline"

inline constexpr int kMaxCompletions = 64;  // of a request

struct GenerationRequest {
  std::vector<int32_t> prompt;  // at least one token
  SamplingParameters sampling;  // completion_index is not looked at
  // Completions of the one prompt, which is read once. Each has random numbers of its own.
  int completions = 1;
  int64_t max_new_tokens = 0;           // of each; 0: read the prompt but for its last token
  int64_t min_new_tokens = 0;           // neither eos nor stops end it before
  std::vector<std::string> stop_texts;  // not returned
  std::vector<int32_t> stop_token_ids;  // neither is their text
  std::vector<int32_t> eos_token_ids;   // empty: eos is not looked for
  int top_logprobs = -1;                // < 0: no logprobs
  // What the output is held to; made of the tokenizer's and model's vocabulary. Stops and
  // min_new_tokens are not for it.
  std::shared_ptr<Constraint> constraint;
  // Where the model starts: the prompt begins with its tokens and has at least one more than its
  // state has seen. Null: nowhere, or a beginning that the model has seen before.
  std::shared_ptr<const SavedState> resume;
  bool save_state = false;  // of each completion, where it ends
  // What whoever takes the stream keeps of each token of the output until the call's end: booked
  // with the rest.
  int64_t result_token_bytes = 0;
  RequestPriority priority = RequestPriority::kNormal;
  std::string client;  // those of one client share what the others leave them
  Clock::time_point arrival = Clock::now();
  Clock::time_point deadline = Clock::time_point::max();
};

// INVALID_ARGUMENT with the fields ("stopping.stop_texts[1]") for what cannot be served,
// FAILED_PRECONDITION for a model that is not a language model.
// Validate judges all of a request: also an empty prompt, more tokens than the model's positions,
// and max_new_tokens that the rest does not fit. ValidateParameters leaves those out and names all
// other fields that are wrong. ValidateNewTokens is about max_new_tokens alone.
absl::Status ValidateTokenIds(std::string_view field, const std::vector<int32_t>& ids,
                              int64_t vocab_size);
absl::Status ValidateNewTokens(const GenerationRequest& request);
absl::Status ValidateParameters(const GenerationRequest& request, const ModelInfo& model);
absl::Status Validate(const GenerationRequest& request, const ModelInfo& model);

// A piece of a completion: whole characters that can no longer be part of a stop text. A delta may
// carry ids without text (bytes held back) and, at the end, text without ids.
struct Delta {
  int index = 0;  // of the completion
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<SampledToken> logprobs;  // parallel to token_ids when asked for, else empty
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;
  int64_t generated_tokens = 0;  // the token that ended it (eos, stop id) included
};

// Seconds on the monotonic clock.
struct Timings {
  double queue = 0;  // arrival to the start of prefill
  double prefill = 0;
  double time_to_first_token = 0;  // arrival to the first token, queueing included
  double decode = 0;               // first token to last
  double mean_inter_token = 0;     // 0 with fewer than two tokens
};

struct CompletionEnd {
  FinishReason reason = FinishReason::kLength;
  int64_t generated_tokens = 0;
  double logprob_sum = 0;                   // of those, where logprobs were asked for
  std::shared_ptr<const SavedState> state;  // where it was asked for
};

struct Finished {
  FinishReason reason = FinishReason::kLength;  // of the first completion, or why all were stopped
  std::vector<CompletionEnd> completions;
  Usage usage;  // of all
  Timings timings;
};

// One request in flight: the engine appends, one consumer takes. Thread-safe. What the consumer has
// not taken is merged into one delta for each completion. A consumer that leaves more than
// GeneratorOptions::max_unread_tokens untaken is given up: the request ends with CANCELLED. The
// output that was made stays booked in the ledger, which outlives the stream, until the stream is
// destroyed.
class GenerationStream {
 public:
  virtual ~GenerationStream() = default;

  struct Event {
    bool started = false;              // prefill has begun; set at most once, with:
    int64_t cached_prompt_tokens = 0;  // how much of the prompt needs no computing
    std::vector<Delta> deltas;         // what is new since the last Take, one for a completion
    bool done = false;                 // the last event
    // With done. OK for eos, length and stop; CANCELLED or UNAVAILABLE (shutdown) with kCancelled,
    // DEADLINE_EXCEEDED with kDeadline; anything else is a failure of the engine, and then
    // `finished.reason` means nothing.
    absl::Status status;
    Finished finished;
  };

  // What has happened since the last call; never blocks.
  virtual Event Take() = 0;
  // Whether the last event is there to be taken. If it is not, `on_ready` is called when it comes,
  // even if something else still waits to be taken; that call may come after the end was taken.
  virtual bool PollDone() = 0;
  // Asks the engine to stop; it looks between steps. The stream still ends with a done event.
  virtual void Cancel() = 0;
};

// The sequences of a forward pass.
struct StepShape {
  int64_t decoding = 0;    // with one token each
  int64_t prefilling = 0;  // with
  int64_t prompt_tokens = 0;
};

// What the engine tells the metrics; called on the generator's thread, must not block.
class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;
  virtual void OnStarted(double queue_seconds) = 0;
  // Whether some of the prompt was found in the cache of prefixes.
  virtual void OnCacheLookup(bool hit) = 0;
  virtual void OnStep(const StepShape& shape, double seconds) = 0;
  virtual void OnFirstToken(double seconds) = 0;
  virtual void OnInterToken(double seconds) = 0;
  // status is not OK when the engine failed; finished.reason tells the rest.
  virtual void OnFinished(const absl::Status& status, const Finished& finished, double seconds) = 0;
};

struct GeneratorOptions {
  BatcherOptions batching = {};
  PrefixCacheOptions cache = {};
  int64_t max_unread_tokens = 4096;  // of a request
  // How long a request waits for memory after it has found none where no other of its model holds
  // any: other models do, or outputs that have not been taken yet.
  Clock::duration memory_patience = std::chrono::seconds(5);
  // Where requests are booked, and to which the cache gives memory back; null: nowhere. The
  // model's. Outlives the generator, as does:
  Ledger* ledger = nullptr;
  // What chooses the tokens of a batch side by side; null: one after the other.
  Executor* executor = nullptr;
};

// What a generator holds.
struct GeneratorLoad {
  int64_t running = 0;      // sequences
  int64_t max_running = 0;  // their limit
  int64_t waiting = 0;      // sequences, those among them that have run before
  int64_t state_bytes = 0;  // of both
  int64_t cache_bytes = 0;  // states of the cache, with their tokens
  int64_t cache_entries = 0;
};

// Thread-safe.
class Generator {
 public:
  // Cancels what is in flight and waits for its end.
  virtual ~Generator() = default;

  // Queues a valid request. `on_ready` is called on a thread of the generator's whenever Take() has
  // something new after it had nothing; it must not block. RESOURCE_EXHAUSTED when the queue is
  // full or has no memory, UNAVAILABLE when draining, INVALID_ARGUMENT for a request that needs
  // more memory than there is beside the model.
  //
  // Memory is taken where a request starts: for one whole completion, and for the output. A request
  // that finds none waits for others of this model to end, and those that come after it start after
  // it (batcher.h). In a moment where no other holds memory of this model they may start before it;
  // if it still finds none in such a moment, GeneratorOptions::memory_patience after the first, its
  // stream ends with RESOURCE_EXHAUSTED. What has started does not fail for want of memory, but for
  // one of several completions whose states are all saved.
  virtual absl::StatusOr<std::shared_ptr<GenerationStream>> Submit(
      GenerationRequest request, std::function<void()> on_ready) = 0;

  // Refuses new requests from now on; what was accepted goes on.
  virtual void Drain() = 0;

  virtual GeneratorLoad load() const = 0;
};

// Runs requests side by side on a thread of its own. The model and the tokenizer outlive it;
// observer may be null.
//
// Takes the workspace of the largest step that the batching options allow, and plans no larger one.
// Where that would be more than half of the memory that is left beside the model, steps become
// smaller, in prompt tokens and in sequences. RESOURCE_EXHAUSTED where there is no memory for the
// smallest, of one sequence and 16 tokens.
absl::StatusOr<std::unique_ptr<Generator>> MakeGenerator(Model* model, const Tokenizer* tokenizer,
                                                         const GeneratorOptions& options,
                                                         GenerationObserver* observer);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_GENERATOR_H_
