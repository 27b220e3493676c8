// What every language model does with a batch of runs, whatever its layers are.
#ifndef WHIPSNAKE_ENGINE_MODELS_BATCH_H_
#define WHIPSNAKE_ENGINE_MODELS_BATCH_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "engine/base/executor.h"
#include "engine/models/model.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// INVALID_ARGUMENT for a run without tokens or state, or with a token that is out of range.
absl::Status CheckRuns(std::span<const Run> runs, int64_t vocab_size);

struct BatchSize {
  int64_t rows = 0;        // T, tokens of all runs
  int64_t logit_rows = 0;  // R, of which the logits are wanted
};
BatchSize SizeOf(std::span<const Run> runs);

// Decode where each run has one token; in the background, that of training.
Priority PriorityOf(std::span<const Run> runs, bool background);

// Moves the rows whose logits are wanted to the front and returns those.
kernels::MatrixView<float> KeepLogitRows(std::span<const Run> runs,
                                         kernels::MatrixView<float> rows);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_BATCH_H_
