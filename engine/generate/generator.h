// Text generation for one model: requests in, streams of text out.
//
// The server submits requests to a Generator and reads their streams. The sequences of all requests
// share each forward pass (batcher.h).
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

// What a generator is to do. ResolveGeneration (generation_parameters.h) makes it from what a
// client asks for. Prompt and stop tokens are ids from 0 to the model's vocab_size - 1.
struct GenerationRequest {
  // At least one token, and no more than the model has positions.
  std::vector<int32_t> prompt;
  // Validate accepts them. completion_index is ignored.
  SamplingParameters sampling;
  // At least 1, of the same prompt, which is read once. Each has its own random numbers.
  int completions = 1;
  // Limit per completion. 0, allowed only with save_state: read the prompt except its last token.
  // Not less than the constraint's shortest_tokens.
  int64_t max_new_tokens = 0;
  // At most max_new_tokens. Eos and stops cannot end a completion earlier.
  int64_t min_new_tokens = 0;
  std::vector<std::string> stop_texts;  // not empty; not part of the returned text
  std::vector<int32_t> stop_token_ids;  // their text is not returned either
  std::vector<int32_t> eos_token_ids;   // empty: there is no eos
  int top_logprobs = -1;                // < 0: no logprobs
  // The constraint on the output, compiled for the vocabulary of the tokenizer and the model.
  // Cannot be combined with stops or min_new_tokens. Null: none.
  std::shared_ptr<Constraint> constraint;
  // The saved state to continue from. The prompt must begin with its tokens and have at least one
  // token more than its state has seen. Null: start from a cached prefix of the prompt, or from
  // nothing.
  std::shared_ptr<const SavedState> resume;
  bool save_state = false;  // save the state at the end of each completion
  // Bytes that the consumer of the stream keeps for each output token until the call ends. They are
  // booked with the rest.
  int64_t result_token_bytes = 0;
  // Whether the consumer keeps every token, or only those that are unread.
  bool keeps_result = true;
  // Bytes that it keeps beside the output's tokens, such as an echo of the prompt.
  int64_t result_bytes = 0;
  RequestPriority priority = RequestPriority::kNormal;
  std::string client;  // all requests of a client share its part of the capacity (batcher.h)
  Clock::time_point arrival = Clock::now();
  Clock::time_point deadline = Clock::time_point::max();
};

// A piece of a completion: whole characters that can no longer be part of a stop text. A delta may
// carry ids without text (when bytes are held back) and, at the end, text without ids.
struct Delta {
  int index = 0;  // of the completion
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<SampledToken> logprobs;  // parallel to token_ids if requested, else empty
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;
  int64_t generated_tokens = 0;  // including the token that ended it (eos, stop id)
};

// Durations in seconds, on the monotonic clock.
struct Timings {
  double queue = 0;  // from arrival to the start of prefill
  double prefill = 0;
  double time_to_first_token = 0;  // from arrival to the first token, including queueing
  double decode = 0;               // from the first token to the last
  double mean_inter_token = 0;     // 0 with fewer than two tokens
};

struct CompletionEnd {
  FinishReason reason = FinishReason::kLength;
  int64_t generated_tokens = 0;
  double logprob_sum = 0;                   // of the generated tokens, if logprobs were requested
  std::shared_ptr<const SavedState> state;  // if requested and the completion is complete
};

struct Finished {
  FinishReason reason = FinishReason::kLength;  // of the first completion, or why all were stopped
  std::vector<CompletionEnd> completions;
  Usage usage;  // of all completions
  Timings timings;
};

// One request in flight: the engine appends, one consumer takes. Thread-safe. Output that the
// consumer has not taken is merged into one delta per completion. If the consumer leaves more than
// GeneratorOptions::max_unread_tokens untaken, the request ends with CANCELLED. The generated
// output stays booked in the ledger until the stream is destroyed; the ledger must outlive the
// stream.
class GenerationStream {
 public:
  virtual ~GenerationStream() = default;

  struct Event {
    bool started = false;              // prefill has begun; set in at most one event
    int64_t cached_prompt_tokens = 0;  // with started: prompt tokens that need no computation
    std::vector<Delta> deltas;         // output since the last Take, one delta per completion
    bool done = false;                 // this is the last event
    // Valid with done. OK for eos, length and stop; CANCELLED or UNAVAILABLE (shutdown) with
    // kCancelled; DEADLINE_EXCEEDED with kDeadline. Any other status is a failure of the engine,
    // and `finished.reason` is then meaningless.
    absl::Status status;
    Finished finished;
  };

  // Returns everything that has happened since the last call. Never blocks.
  virtual Event Take() = 0;
  // Whether the last event can be taken. If not, `on_ready` is called when it comes, even if
  // something else still waits to be taken; that call may come after the end has been taken.
  virtual bool PollDone() = 0;
  // Asks the engine to stop the request; it checks between steps. The stream still ends with a done
  // event.
  virtual void Cancel() = 0;
};

// The sequences of a forward pass.
struct StepShape {
  int64_t decoding = 0;       // sequences with one token each
  int64_t prefilling = 0;     // sequences that read their prompts
  int64_t prompt_tokens = 0;  // of all prefilling sequences
};

// Receives measurements for the metrics. Called on the generator's thread; must not block.
class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;
  virtual void OnStarted(double queue_seconds) = 0;
  // `hit`: a state for a prefix of the prompt was found in the prefix cache.
  virtual void OnCacheLookup(bool hit) = 0;
  virtual void OnStep(const StepShape& shape, double seconds) = 0;
  virtual void OnFirstToken(double seconds) = 0;
  virtual void OnInterToken(double seconds) = 0;
  // `status` and `finished` are those of the stream's last event.
  virtual void OnFinished(const absl::Status& status, const Finished& finished, double seconds) = 0;
};

struct GeneratorOptions {
  BatcherOptions batching = {};
  PrefixCacheOptions cache = {};
  int64_t max_unread_tokens = 4096;  // per request
  // How long a request waits for memory while no other request of its model holds any, because the
  // memory is held by other models or by outputs that have not been taken yet.
  Clock::duration memory_timeout = std::chrono::seconds(5);
  // The ledger of the model, in which requests are booked and to which the prefix cache returns
  // memory. Null: nothing is booked. Must outlive the generator.
  Ledger* ledger = nullptr;
  // Runs the sampling of a batch in parallel. Null: one sequence after another. Must outlive the
  // generator.
  Executor* executor = nullptr;
};

// The current load of a generator.
struct GeneratorLoad {
  int64_t running = 0;      // sequences
  int64_t max_running = 0;  // limit of running sequences
  int64_t waiting = 0;      // sequences, including those that have run before
  int64_t state_bytes = 0;  // of running and waiting sequences
  int64_t cache_bytes = 0;  // states in the prefix cache and their tokens
  int64_t cache_entries = 0;
};

// Thread-safe.
class Generator {
 public:
  // Ends the requests in flight with UNAVAILABLE and waits until they have ended.
  virtual ~Generator() = default;

  // Queues a request. It must be what GenerationRequest says, as one from ResolveGeneration is:
  // Submit does not check its fields. The model must be a language model. `on_ready` is called on
  // one of the generator's threads when Take() has something new after having had nothing; it must
  // not block. Returns RESOURCE_EXHAUSTED if the queue is full or there is no memory for a queued
  // request, UNAVAILABLE while draining, INVALID_ARGUMENT for "stopping.max_new_tokens" if the
  // request needs more memory than there is beside the model.
  //
  // Memory is reserved when a request starts: for one whole completion, and for the output. A
  // request that finds none waits for other requests of this model to end, and the requests after
  // it wait with it (batcher.h). While no other request of this model holds memory, later requests
  // may start before it. If the request still finds none in such a moment,
  // GeneratorOptions::memory_timeout after the first such moment, its stream ends with
  // RESOURCE_EXHAUSTED. A request that has started does not fail for lack of memory, unless it
  // saves the states of several completions.
  virtual absl::StatusOr<std::shared_ptr<GenerationStream>> Submit(
      GenerationRequest request, std::function<void()> on_ready) = 0;

  // Replaces the limits of the queue, for requests from now on.
  virtual void SetQueueLimits(const QueueLimits& limits) = 0;

  // Refuses new requests from now on. Accepted requests continue.
  virtual void Drain() = 0;

  // Never waits for a step.
  virtual GeneratorLoad load() const = 0;
};

// Makes a generator that runs its requests concurrently on a thread of its own. The model, the
// tokenizer and the observer must outlive it; the observer may be null.
//
// Reserves the workspace for the largest step that the batching options allow, and never plans a
// larger step. If that workspace would take more than half of the memory left beside the model,
// steps are made smaller, in prompt tokens and in sequences. Returns RESOURCE_EXHAUSTED if there is
// no memory for the smallest step, of one sequence and 16 tokens.
absl::StatusOr<std::unique_ptr<Generator>> MakeGenerator(Model* model, const Tokenizer* tokenizer,
                                                         const GeneratorOptions& options,
                                                         GenerationObserver* observer);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_GENERATOR_H_
