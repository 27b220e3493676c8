// The one small interface of every language model.
//
// A model turns a batch of runs of tokens, each with the state of its sequence, into logits and
// advanced states. Prefill, chunked prefill, decode, resuming from a saved state and batched decode
// are all this one call with different run lengths.
#ifndef WHIPSNAKE_ENGINE_MODELS_MODEL_H_
#define WHIPSNAKE_ENGINE_MODELS_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/base/scheme.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

class Checkpoint;
struct ModelConfig;

// What a sequence has been through: an explicit value that can be copied, forked, saved and
// restored. Belongs to the model that made it. Not thread-safe, but for any number of threads that
// leave it as it is.
class State {
 public:
  virtual ~State() = default;

  // Tokens consumed so far.
  virtual int64_t position() const = 0;

  // Whether what it was after fewer tokens is part of it, as with a cache of keys and values; a
  // recurrent state forgets.
  virtual bool rewindable() const { return false; }
  // The state after `position` tokens: its own position or, where it is rewindable, one from 1 to
  // that. Independent of this one, though they may share memory that neither changes.
  // RESOURCE_EXHAUSTED when the ledger refuses.
  virtual absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t position) const = 0;
  absl::StatusOr<std::unique_ptr<State>> Clone() const { return CloneAt(position()); }

  // Takes the memory that the sequence needs to get to so many tokens, where that grows, so that no
  // Forward fails for want of it. RESOURCE_EXHAUSTED when the ledger refuses.
  virtual absl::Status MakeRoom(int64_t /*positions*/) { return absl::OkStatus(); }
  // Gives back what of it no token took.
  virtual void ReleaseRoom() {}

  // Memory that it holds, and where that lies: states that share some have the same pieces.
  virtual int64_t bytes() const = 0;
  virtual void AppendMemory(std::vector<std::span<const std::byte>>& pieces) const = 0;

  // Writes saved_bytes() bytes, of which Model::RestoreState makes the same state.
  virtual int64_t saved_bytes() const { return bytes(); }
  virtual void Save(std::span<std::byte> out) const = 0;
};

enum class LogitsOf { kNone, kLast, kAll };

// `tokens` continue the sequence of `state`, which is advanced in place.
struct Run {
  std::span<const int32_t> tokens;  // at least one, each in [0, vocab_size)
  State* state = nullptr;           // made by this model; no two runs of a batch share one
  LogitsOf logits = LogitsOf::kLast;
};

// The size of a batch of runs.
struct BatchSize {
  int64_t rows = 0;        // T, tokens of all runs
  int64_t logit_rows = 0;  // R, of which the logits are wanted
};

struct ModelInfo {
  std::string architecture;  // "mamba", "gpt2"
  Scheme scheme = Scheme::kFp32;
  int64_t vocab_size = 0;     // padding included
  int64_t labels = 0;         // of a sequence classifier; 0: it is a language model
  int64_t max_positions = 0;  // 0: unbounded, as recurrent models are
  int64_t parameters = 0;
  int64_t weights_bytes = 0;  // resident, in this scheme
  int64_t state_bytes = 0;    // per sequence, of max_positions where there is such a bound

  // Columns of the logits.
  int64_t outputs() const { return labels > 0 ? labels : vocab_size; }
};

// FAILED_PRECONDITION unless the model's logits are about the next token.
absl::Status CheckLanguageModel(const ModelInfo& info);

// Immutable weights and a workspace. One Forward at a time; the rest from any thread.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  // The state of a sequence that has not begun.
  virtual absl::StatusOr<std::unique_ptr<State>> NewState() = 0;
  // The state that was saved after `position` tokens, by a model of the same weights, scheme and
  // types. INVALID_ARGUMENT for a number of bytes that no
  // state of this model has. What they are worth is for the caller to know.
  virtual absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t position,
                                                              std::span<const std::byte> saved) = 0;

  // Bytes of a state with room for so many tokens.
  virtual int64_t StateBytes(int64_t /*positions*/) const { return info().state_bytes; }

  // Bytes that passes of this size compute in, what kernels keep included.
  virtual int64_t WorkspaceBytes(const BatchSize& /*size*/) const { return 0; }
  // Takes those bytes once, so that no Forward of up to this size takes any. RESOURCE_EXHAUSTED
  // when the ledger refuses. Larger passes take more when they come.
  virtual absl::Status ReserveWorkspace(const BatchSize& /*largest*/) { return absl::OkStatus(); }

  // Runs the batch on the executor and returns when it is done. The logits' rows, [R, outputs()]
  // fp32, follow the order of the runs and, within a run of kAll, of its tokens; they stay valid
  // until the next call. INVALID_ARGUMENT for an empty run, a token out of range or more
  // than max_positions, RESOURCE_EXHAUSTED when there is no memory; then no state has changed.
  // ABORTED when the system had no memory for a kernel in the middle of the pass: then the states
  // of the runs mean nothing.
  // DATA_LOSS, from then on, when CheckWeights says so: then no state that the model made is valid.
  virtual absl::StatusOr<kernels::MatrixView<const float>> Forward(std::span<const Run> runs) = 0;

  // DATA_LOSS once files that weights lie in have changed. From any thread.
  virtual absl::Status CheckWeights() const { return absl::OkStatus(); }

  // The weights that one decode step reads, as they lie in memory: the head yes, of an untied input
  // embedding nothing. For benchmarks that compare a step with a plain read of the same bytes.
  virtual std::vector<std::span<const std::byte>> DecodeWeights() const = 0;
};

// What a model is built with. What it points to outlives the model.
struct ModelEnvironment {
  Executor* executor = nullptr;
  Ledger* ledger = nullptr;
  // Computes at the priority of training: for work that nobody waits for, beside serving.
  bool background = false;
};

struct ModelConfig;

struct ModelOptions {
  // kFp32 or kBf16 for a directory of float weights; of a quantized one, the scheme it was
  // quantized with. Nothing: fp32, or what the directory was quantized with.
  std::optional<Scheme> scheme = std::nullopt;
  // How states are kept: kF32, kBF16 or kI8. Less takes less memory and time in large batches.
  // Nothing: a recurrent model's, which lose small updates, in fp32, which is all that those of
  // float weights have; a transformer's keys and values like its weights, in fp32, bf16 or int8.
  std::optional<kernels::DType> state_type = std::nullopt;
};

// From the names of a scheme and of a state type ("fp32", "bf16", "int8"); an empty one is the
// default. INVALID_ARGUMENT of the field "scheme" or "state_type".
absl::StatusOr<ModelOptions> ParseModelOptions(std::string_view scheme,
                                               std::string_view state_type);

// FAILED_PRECONDITION, naming the option, for one that the model of a config cannot have: another
// scheme than its weights allow, a state type of less than fp32 for a Mamba of float weights.
absl::Status CheckOptions(const ModelOptions& options, const ModelConfig& config);

// Those of the options that CheckOptions admits for the model: for a default that is given to many
// models. `left_out` gets the reason for each of the others.
ModelOptions ApplicableOptions(const ModelOptions& options, const ModelConfig& config,
                               std::vector<absl::Status>& left_out);

// The scheme of weights that are `quantized` so, or not at all, under the options.
// FAILED_PRECONDITION where they cannot be had in the scheme that was asked for.
absl::StatusOr<Scheme> ChooseScheme(const ModelOptions& options, std::optional<Scheme> quantized);

// Loads a model directory (config.json and safetensors). Checks the whole of it before anything
// large is allocated; errors name the file, the tensor or the key. Tensors that the model of the
// config does not have are refused: layers beyond its number, biases and norms of other variants, a
// head of its own beside tied embeddings. FAILED_PRECONDITION where the directory cannot be had in
// the scheme that was asked for; DATA_LOSS where the files change meanwhile.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment);
// The same of a config and tensors that were read already.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelConfig& config,
                                                 std::shared_ptr<const Checkpoint> checkpoint,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MODEL_H_
