// The largest steps that there is memory for.
#ifndef WHIPSNAKE_ENGINE_GENERATE_STEP_SIZE_H_
#define WHIPSNAKE_ENGINE_GENERATE_STEP_SIZE_H_

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/generate/batcher.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// The rows of the largest forward pass that a batcher plans.
BatchSize LargestStep(const BatcherOptions& options);

// Has the model take the workspace of the largest step, and returns `options` with steps that small
// that it fits: at most half of what the ledger, unless null, has left for it, as sequences need
// memory too. Smaller steps have fewer prompt tokens and fewer sequences, by halves; the smallest,
// of one sequence and kSmallestChunk prompt tokens, may take all. RESOURCE_EXHAUSTED where that
// does not fit.
inline constexpr int64_t kSmallestChunk = 16;
absl::StatusOr<BatcherOptions> FitSteps(BatcherOptions options, Model& model, Ledger* ledger);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_STEP_SIZE_H_
