// The batches of an epoch, in an order that can be reproduced and entered anywhere.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_BATCHES_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_BATCHES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/finetune/data/booked_vector.h"
#include "engine/finetune/data/dataset.h"
#include "engine/finetune/data/examples.h"
#include "engine/finetune/data/packed_windows.h"

namespace whipsnake::engine {

struct BatchOptions {
  int64_t batch_size = 8;  // examples, at least 1
  uint64_t seed = 0;
  // Whether each epoch has another order; otherwise all have that of the file, as for evaluation.
  bool shuffle = true;
  // Shuffled examples that are not packed are sorted by length within pools of this many batches,
  // at least 1, so that the examples of a batch are about equally long.
  int64_t pool_batches = 50;
};

using Batch = std::vector<Example>;

// Divides a data set into batches. The contents of batch b of epoch e are a function of the data
// set and the options, so a run that resumes there sees what it would have seen without the break.
// Each epoch has each example once. All batches but one have batch_size examples.
//
// Packed texts (DatasetOptions::packed) are shuffled, joined and cut into windows; an example is a
// window, and the windows are in the order of the joined texts.
//
// Not thread-safe.
class Batches {
 public:
  // Returns INVALID_ARGUMENT, naming the option, if batch_size or pool_batches is below 1 or the
  // data set has no examples, and RESOURCE_EXHAUSTED if the ledger has no room for the order, 8 to
  // 16 bytes per row. The data set and the ledger must outlive the batches.
  static absl::StatusOr<std::unique_ptr<Batches>> Make(const Dataset* dataset,
                                                       const BatchOptions& options, Ledger* ledger);

  int64_t examples_per_epoch() const;
  int64_t batches_per_epoch() const;

  // The lengths of the longest sequences of a batch's examples, for a batch that is at least as
  // large as every batch.
  std::vector<int64_t> LargestLengths() const;

  // Reads a batch, 0 <= batch < batches_per_epoch(). The first batch that is read of an epoch takes
  // the time to sort the rows. Errors as from Dataset::Read.
  absl::StatusOr<Batch> Read(int64_t epoch, int64_t batch);

  // The rows of the data set that the batch's examples come from, if texts are not packed.
  std::vector<int64_t> Rows(int64_t epoch, int64_t batch);

 private:
  Batches(const Dataset* dataset, const BatchOptions& options, Ledger* ledger);

  bool packs() const { return dataset_->options().packs(); }
  // Sets the order of `epoch`.
  void StartEpoch(int64_t epoch);
  // Sorts the shuffled rows in pools and shuffles the groups.
  void Bucket();
  // The places of a batch's examples in the order of its epoch.
  struct Positions {
    int64_t begin, end;
  };
  Positions PositionsOf(int64_t epoch, int64_t batch);
  // Reads the example at a place of the order.
  absl::StatusOr<Example> ReadExample(int64_t position);

  const Dataset* dataset_;
  const BatchOptions options_;
  int64_t epoch_ = -1;  // whose order is set; -1 if none
  BookedVector<int64_t> rows_;
  BookedVector<int64_t> groups_;  // [b]: batch b begins at example groups_[b] * batch_size
  PackedWindows windows_;         // if the data set packs
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_BATCHES_H_
