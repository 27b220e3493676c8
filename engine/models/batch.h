// Operations on batches of runs that all models share.
#ifndef WHIPSNAKE_ENGINE_MODELS_BATCH_H_
#define WHIPSNAKE_ENGINE_MODELS_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/models/model.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// Returns INVALID_ARGUMENT for a run without tokens or state, with a token that is out of range, or
// that goes beyond the model's last position.
absl::Status CheckRuns(std::span<const Run> runs, const ModelInfo& info);

BatchSize SizeOf(std::span<const Run> runs);

// kTraining in the background; otherwise kDecode if each run has one token, else kPrefill.
Priority PriorityOf(std::span<const Run> runs, bool background);

// The memory in which a model's passes compute. Not thread-safe: one pass at a time.
class Workspace {
 public:
  // Bytes for a pass: the model's own, and those that kernels keep on the executor's threads, which
  // all models share.
  struct Need {
    int64_t own = 0;
    int64_t shared = 0;
  };

  explicit Workspace(const ModelEnvironment& environment)
      : executor_(*environment.executor), ledger_(*environment.ledger) {}

  // Grows the workspace if it is too small. It never shrinks, and loses its contents when it grows.
  // Returns RESOURCE_EXHAUSTED if the ledger refuses.
  absl::Status Reserve(const Need& need);
  // Aligned as Arena requires.
  std::byte* data() const { return own_.data(); }

 private:
  Executor& executor_;
  Ledger& ledger_;
  Buffer own_;
  int64_t shared_bytes_ = 0;
  std::shared_ptr<const void> shared_;
};

// Moves the rows whose logits are wanted to the front and returns a view of them.
kernels::MatrixView<float> CompactLogitRows(std::span<const Run> runs,
                                            kernels::MatrixView<float> rows);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_BATCH_H_
