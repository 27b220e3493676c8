// Operations on batches of runs that all models share.
#ifndef WHIPSNAKE_ENGINE_MODELS_BATCH_H_
#define WHIPSNAKE_ENGINE_MODELS_BATCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/executor.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// Returns INVALID_ARGUMENT for a run without tokens or state, with a token that is out of range, or
// that goes beyond the model's last position.
absl::Status CheckRuns(std::span<const Run> runs, const ModelInfo& info);

BatchSize SizeOf(std::span<const Run> runs);

// kTraining in the background; otherwise kDecode if each run has one token, else kPrefill.
Priority PriorityOf(std::span<const Run> runs, bool background);

// The rows of the batch whose logits are wanted, ascending.
std::vector<int64_t> LogitRows(std::span<const Run> runs);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_BATCH_H_
