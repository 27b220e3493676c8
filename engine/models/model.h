// The interface of all models.
//
// A model takes a batch of runs of tokens, each with the state of its sequence, and produces logits
// and advanced states. Prefill, chunked prefill, decode, resuming from a saved state and batched
// decode are all the same call with different run lengths.
#ifndef WHIPSNAKE_ENGINE_MODELS_MODEL_H_
#define WHIPSNAKE_ENGINE_MODELS_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/base/scheme.h"
#include "engine/layers/parameter.h"
#include "engine/layers/state.h"
#include "engine/layers/unused_tensors.h"
#include "engine/models/model_options.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

class Checkpoint;
struct ModelConfig;

enum class LogitsOf { kNone, kLast, kAll };

// `tokens` continue the sequence of `state`, which is advanced in place.
struct Run {
  std::span<const int32_t> tokens;  // at least one, each in [0, vocab_size)
  State* state = nullptr;           // made by this model; no two runs of a batch share one
  LogitsOf logits = LogitsOf::kLast;
};

// The size of a batch of runs.
struct BatchSize {
  int64_t rows = 0;        // T, the tokens of all runs
  int64_t logit_rows = 0;  // R, the rows whose logits are wanted
};

struct ModelInfo {
  std::string architecture;  // "mamba", "gpt2"
  Scheme scheme = Scheme::kFp32;
  int64_t vocab_size = 0;     // including padding
  int64_t labels = 0;         // of a sequence classifier; 0: a language model
  int64_t max_positions = 0;  // 0: unbounded, as in recurrent models
  int64_t parameters = 0;
  int64_t weights_bytes = 0;     // resident, in this scheme
  int64_t state_bytes = 0;       // per sequence, with max_positions tokens if these are bounded
  UnusedTensors unused_tensors;  // of its checkpoint, without known leftovers

  // Columns of the logits.
  int64_t outputs() const { return labels > 0 ? labels : vocab_size; }
};

// Returns FAILED_PRECONDITION unless the model is a language model.
absl::Status CheckLanguageModel(const ModelInfo& info);

// Immutable weights and a workspace. Only one Forward or ReserveWorkspace may run at a time; the
// other functions may be called from any thread.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  // The state of a sequence that has not begun.
  virtual absl::StatusOr<std::unique_ptr<State>> NewState() = 0;
  // Restores a state that was saved after `position` tokens by a model with the same weights,
  // scheme and types. Returns INVALID_ARGUMENT if no state of this model has that many bytes,
  // RESOURCE_EXHAUSTED if the ledger refuses. Does not check the contents: the caller must know
  // that they are valid.
  virtual absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t position,
                                                              std::span<const std::byte> saved) = 0;

  // The bytes of a state with room for this many tokens.
  virtual int64_t StateBytes(int64_t /*positions*/) const { return info().state_bytes; }

  // The workspace bytes of a pass of this size, including the memory that kernels keep.
  virtual int64_t WorkspaceBytes(const BatchSize& /*size*/) const { return 0; }
  // Allocates these bytes once, so that no Forward of up to this size allocates any. Returns
  // RESOURCE_EXHAUSTED if the ledger refuses. Larger passes allocate more when they run.
  virtual absl::Status ReserveWorkspace(const BatchSize& /*largest*/) { return absl::OkStatus(); }

  // Runs the batch on the executor and returns when it is done. The logits, [R, outputs()] in fp32,
  // have their rows in the order of the runs and, within a kAll run, of its tokens. They stay valid
  // until the next call. Errors:
  //   - INVALID_ARGUMENT for an empty run, a token out of range or more than max_positions,
  //     RESOURCE_EXHAUSTED if there is no memory; no state has changed then.
  //   - ABORTED if the system had no memory for a kernel in the middle of the pass; the states of
  //     the runs are meaningless then.
  //   - DATA_LOSS once CheckWeights returns it; no state that the model made is valid then.
  virtual absl::StatusOr<kernels::MatrixView<const float>> Forward(std::span<const Run> runs) = 0;

  // Returns DATA_LOSS once a file that holds weights in use has changed. May be called from any
  // thread.
  virtual absl::Status CheckWeights() const { return absl::OkStatus(); }

  // Visits every parameter that the model holds.
  virtual void VisitParameters(ParameterVisitor /*visit*/) const {}
};

// The weights that one step of decoding reads, as they lie in memory. For benchmarks that compare a
// step with a plain read of the same bytes.
std::vector<std::span<const std::byte>> DecodeWeights(const Model& model);

// The resources that a model uses. They must outlive the model.
struct ModelEnvironment {
  Executor* executor = nullptr;
  Ledger* ledger = nullptr;
  // Whether to compute at the priority of training, for background work beside serving.
  bool background = false;
};

// Loads a model directory (config.json and safetensors). Checks all of it before anything large is
// allocated; errors name the file, the tensor or the key. Refuses weights in the layers of the
// family that the model of the config does not have: layers beyond its number, biases and norms of
// other variants, a separate head that differs from tied embeddings. Other tensors are ignored,
// whatever their type, and named in ModelInfo. Returns FAILED_PRECONDITION if the directory is not
// available in the requested scheme, DATA_LOSS if the files change during the load.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment);
// The same for a config and tensors that have already been read.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelConfig& config,
                                                 std::shared_ptr<const Checkpoint> checkpoint,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MODEL_H_
