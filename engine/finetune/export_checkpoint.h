// A checkpoint of a training run as a model directory.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_EXPORT_CHECKPOINT_H_
#define WHIPSNAKE_ENGINE_FINETUNE_EXPORT_CHECKPOINT_H_

#include <string>

#include "absl/status/status.h"
#include "engine/base/memory.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// Writes the model that a run had at a checkpoint (TrainingCheckpoint) to `out`, as
// FineTuning::Run() writes its result but without a report. `source` is the model directory that
// the run began with. Returns the errors of TrainingCheckpoint::Open and WriteResult, and
// RESOURCE_EXHAUSTED if the ledger has no room for the weights in fp32.
absl::Status ExportCheckpoint(const std::string& checkpoint, const std::string& source,
                              kernels::DType dtype, const std::string& out, Ledger& ledger);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_EXPORT_CHECKPOINT_H_
