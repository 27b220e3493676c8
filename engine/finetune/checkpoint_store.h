// The checkpoints of one training run, in a directory of theirs.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_CHECKPOINT_STORE_H_
#define WHIPSNAKE_ENGINE_FINETUNE_CHECKPOINT_STORE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/files.h"
#include "engine/finetune/trainer.h"
#include "engine/finetune/training_checkpoint.h"

namespace whipsnake::engine {

// The checkpoint after step 17 is the subdirectory "step-00000017". Other entries of the directory
// are left alone, but for temporaries of killed processes. Movable, not thread-safe.
class CheckpointStore {
 public:
  // Makes the directory unless it exists; its parent must. Locks it until the store is destroyed.
  // Returns FAILED_PRECONDITION, naming the process, while another store has it locked.
  static absl::StatusOr<CheckpointStore> Open(const std::string& directory);

  // The directory of a checkpoint, and the steps of those that there are, ascending, in the
  // directory of a store. Neither opens the store.
  static std::string PathOf(const std::string& directory, int64_t step);
  static absl::StatusOr<std::vector<int64_t>> StepsIn(const std::string& directory);

  // Writes a checkpoint of the trainer's last step, as TrainingCheckpoint::Write(). Then removes
  // all but the last `keep` checkpoints up to this one, or none if `keep` is 0. If that fails, the
  // error names what cannot be removed; the new checkpoint is durable. A failed write changes
  // nothing.
  absl::Status Save(Trainer& trainer, const RunIdentity& identity,
                    std::span<const double> reference, int64_t keep);

  // The steps that have a checkpoint, ascending.
  absl::StatusOr<std::vector<int64_t>> List() const { return StepsIn(directory_); }
  // Errors as from TrainingCheckpoint::Open().
  absl::StatusOr<TrainingCheckpoint> Load(int64_t step) const;
  // Opens the newest checkpoint that is not damaged, if there is one. Renames those that are, to
  // "step-00000017.damaged-1", so that the run can write them anew, and adds a warning for each.
  absl::StatusOr<std::optional<TrainingCheckpoint>> Latest(std::vector<std::string>& warnings);

 private:
  CheckpointStore(std::string directory, Descriptor lock)
      : directory_(std::move(directory)), lock_(std::move(lock)) {}
  std::string PathOf(int64_t step) const { return PathOf(directory_, step); }
  absl::Status Prune(int64_t last, int64_t keep);

  std::string directory_;
  Descriptor lock_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_CHECKPOINT_STORE_H_
