// A checkpoint of a training run, from which the run continues as if it had not stopped.
//
// A checkpoint is a directory with
//   model.safetensors      the parameters under their names, in fp32
//   optimizer.safetensors  the moments as Optimizer::Visit() names them, each as one row: F32, or
//                          I8 for the codes of 8-bit moments
//   state.json             the step, the updates of each parameter, the state of the scheduler of
//                          layers, the log, the reference of DPO, the identity of the run, and the
//                          digests of the other files and of itself
// The place in the data, the learning rate and the masks of dropout are functions of the step and
// the settings, so they have no state of their own.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TRAINING_CHECKPOINT_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TRAINING_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/finetune/run_identity.h"
#include "engine/finetune/run_log.h"
#include "engine/finetune/trainer.h"

namespace whipsnake::engine {

// A safetensors file, mapped.
struct TensorFile {
  std::string path;
  MappedFile file;
  std::map<std::string, TensorRecord> tensors;

  // Returns DATA_LOSS, naming the file, if it is missing or is no safetensors file.
  static absl::StatusOr<TensorFile> Open(const std::string& path);

  // Returns the data of a tensor, or DATA_LOSS, naming the file and the tensor, if it is missing or
  // has another type or shape.
  absl::StatusOr<std::span<const std::byte>> Get(const std::string& name, kernels::DType dtype,
                                                 std::span<const int64_t> shape) const;
};

// An open checkpoint. Immutable unless its files change, which Restore() notices.
class TrainingCheckpoint {
 public:
  // Writes the state of a trainer after its last step, completely and durably or not at all, from
  // where it lies in memory. `reference` has the log-probabilities of DPO's responses, if any.
  // Returns ALREADY_EXISTS unless `directory` is absent or empty, RESOURCE_EXHAUSTED if the disk is
  // full, and INVALID_ARGUMENT for a log or a reference with a number that is not finite.
  static absl::Status Write(Trainer& trainer, const RunIdentity& identity,
                            std::span<const double> reference, const std::string& directory);

  // Returns DATA_LOSS, naming the file, if one is missing or its digest is wrong, and UNIMPLEMENTED
  // for another version of the format. Reads all bytes.
  static absl::StatusOr<TrainingCheckpoint> Open(const std::string& directory);

  int64_t step() const { return std::ssize(state_.log.steps); }
  const RunLog& log() const { return state_.log; }
  const std::vector<double>& reference() const { return state_.reference; }

  // ToJson(RunIdentity), as text.
  const std::string& identity() const { return state_.identity; }

  // Returns FAILED_PRECONDITION, naming what differs, if the checkpoint is of another run.
  absl::Status CheckIdentity(const RunIdentity& identity) const;

  // Gives parameters the values of the checkpoint. Returns DATA_LOSS, naming the file and the
  // tensor, if they are not those of the checkpoint, or if the file changes meanwhile.
  absl::Status RestoreParameters(TrainableParameters& parameters) const;
  // Gives a trainer the parameters, moments, updates, scheduler and log of the checkpoint. The
  // moments are counted in `ledger`, which should be that of the trainer. Returns the errors of
  // CheckIdentity() and DATA_LOSS, naming the file and the tensor or key, if the tensors or the
  // state of the scheduler are not those of the trainer's model, optimizer and scheduler, and
  // RESOURCE_EXHAUSTED if the ledger refuses; the trainer is then as before. Also returns DATA_LOSS
  // if a file changes while it is read; the trainer is then unusable.
  absl::Status Restore(const RunIdentity& identity, Trainer& trainer, Ledger* ledger) const;

 private:
  // The contents of state.json.
  struct State {
    std::string path;                        // of the file
    std::map<std::string, int64_t> updates;  // by parameter
    std::string scheduler;                   // LayerScheduler::State(), a JSON document
    RunLog log;
    std::vector<double> reference;
    std::string identity;                        // a JSON object
    std::map<std::string, std::string> digests;  // by file
  };
  static absl::StatusOr<State> ParseState(const nlohmann::json& json);

  TrainingCheckpoint(State state, TensorFile model, TensorFile optimizer)
      : state_(std::move(state)), model_(std::move(model)), optimizer_(std::move(optimizer)) {}
  // Returns the values of the parameters, in their order.
  absl::StatusOr<std::vector<std::span<const std::byte>>> ParameterValues(
      const TrainableParameters& parameters) const;
  // Makes an optimizer with the moments and updates of the checkpoint.
  absl::StatusOr<Optimizer> RestoredOptimizer(const OptimizerOptions& options,
                                              const TrainableParameters& parameters,
                                              Ledger* ledger) const;
  absl::Status RestoreScheduler(LayerScheduler& scheduler) const;

  State state_;
  TensorFile model_, optimizer_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TRAINING_CHECKPOINT_H_
