// The batches of a data set as a trainer takes them.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATASET_BATCHES_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATASET_BATCHES_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/data/batches.h"
#include "engine/finetune/data/dataset.h"
#include "engine/finetune/trainer.h"

namespace whipsnake::engine {

class DatasetBatches : public BatchSource {
 public:
  // Errors as from Batches::Make. The data set and the ledger must outlive the batches.
  static absl::StatusOr<std::unique_ptr<DatasetBatches>> Make(const Dataset* dataset,
                                                              const BatchOptions& options,
                                                              Ledger* ledger);

  // The log-probabilities that the reference model of DPO gives to the two responses of each row of
  // the data set. Must be set before a batch of kDpo is read for training.
  void SetReference(std::vector<double> reference) { reference_ = std::move(reference); }

  int64_t batches() const override { return batches_->batches_per_epoch(); }
  TrainingBatch Largest() const override;
  absl::StatusOr<TrainingBatch> Read(int64_t epoch, int64_t index) override;

 private:
  DatasetBatches(const Dataset* dataset, std::unique_ptr<Batches> batches)
      : dataset_(dataset), batches_(std::move(batches)) {}

  const Dataset* const dataset_;
  const std::unique_ptr<Batches> batches_;
  std::vector<double> reference_;  // [rows * 2] or empty
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATASET_BATCHES_H_
