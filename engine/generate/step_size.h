// The largest step size that fits into memory.
#ifndef WHIPSNAKE_ENGINE_GENERATE_STEP_SIZE_H_
#define WHIPSNAKE_ENGINE_GENERATE_STEP_SIZE_H_

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/generate/batcher.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// The rows of the largest forward pass that a batcher plans with these options.
BatchSize LargestStep(const BatcherOptions& options);

// Reserves the workspace of the largest step in the model, and returns `options` with the steps
// reduced until it fits. The workspace may take at most half of what is left in the ledger, unless
// that is null, as sequences need memory too. Steps are reduced by halving their prompt tokens or
// their sequences. The smallest step, of one sequence and kMinChunkTokens prompt tokens, may take
// all that is left. Returns RESOURCE_EXHAUSTED if that does not fit.
inline constexpr int64_t kMinChunkTokens = 16;
absl::StatusOr<BatcherOptions> FitSteps(BatcherOptions options, Model& model, Ledger* ledger);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_STEP_SIZE_H_
