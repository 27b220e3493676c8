#include "engine/finetune/dataset_batches.h"

#include "absl/memory/memory.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

absl::StatusOr<std::unique_ptr<DatasetBatches>> DatasetBatches::Make(const Dataset* dataset,
                                                                     const BatchOptions& options,
                                                                     Ledger* ledger) {
  ASSIGN_OR_RETURN(std::unique_ptr<Batches> batches, Batches::Make(dataset, options, ledger));
  return absl::WrapUnique(new DatasetBatches(dataset, std::move(batches)));
}

TrainingBatch DatasetBatches::Largest() const {
  const bool pairs = dataset_->options().task == Task::kDpo;
  TrainingBatch batch;
  for (const int64_t length : batches_->LargestLengths()) {
    batch.examples.emplace_back().sequences.assign(pairs ? 2 : 1, std::vector<int32_t>(length));
    if (pairs) batch.reference.insert(batch.reference.end(), 2, 0.0);
  }
  return batch;
}

absl::StatusOr<TrainingBatch> DatasetBatches::Read(int64_t epoch, int64_t index) {
  TrainingBatch batch;
  ASSIGN_OR_RETURN(batch.examples, batches_->Read(epoch, index));
  if (reference_.empty()) return batch;
  for (const int64_t row : batches_->Rows(epoch, index)) {
    batch.reference.push_back(reference_[2 * row]);
    batch.reference.push_back(reference_[2 * row + 1]);
  }
  return batch;
}

}  // namespace whipsnake::engine
