// A fine-tuning job: from a model directory and data files to a fine-tuned model directory.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FINE_TUNING_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FINE_TUNING_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/finetune/checkpoint_store.h"
#include "engine/finetune/data/dataset.h"
#include "engine/finetune/dataset_batches.h"
#include "engine/finetune/fine_tuning_spec.h"
#include "engine/finetune/plan/memory_budget.h"
#include "engine/finetune/plan/training_plan.h"
#include "engine/finetune/report/run_report.h"
#include "engine/finetune/run_identity.h"
#include "engine/finetune/trainer.h"
#include "engine/finetune/training_loop.h"
#include "engine/finetune/training_options.h"
#include "engine/models/trainable_model.h"
#include "engine/tokenizer/tokenizer.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// The settings of a run, and others with which it takes less memory.
struct SettingsChoice {
  std::vector<Candidate> candidates;  // plan/memory_budget.h
  absl::Status fits;                  // RESOURCE_EXHAUSTED if no candidate fits the limit
  // With a memory budget, the first candidate that fits the limit. Without one, and if none fits,
  // the settings as they are given.
  Candidate chosen;
};

// Not thread-safe.
class FineTuning {
 public:
  // Checks the settings, and reads and indexes the data. Bad rows are no error here, so that their
  // report can be shown: see CheckData(). Returns INVALID_ARGUMENT, naming the field, for a setting
  // that contradicts another or the model, and errors of the files. Allocates nothing for the
  // model. The environment and the observer must outlive the job.
  static absl::StatusOr<std::unique_ptr<FineTuning>> Prepare(const FineTuningSpec& spec,
                                                             const TrainingEnvironment& environment,
                                                             TrainingObserver* observer);

  const DatasetReport& training_data() const { return training_data_->report(); }
  const DatasetReport* evaluation_data() const {
    return evaluation_data_ != nullptr ? &evaluation_data_->report() : nullptr;
  }
  // Returns INVALID_ARGUMENT if the data have bad rows, no rows or labels that do not match the
  // model's head. Adds warnings to the observer.
  absl::Status CheckData();

  // What a plan of the run is made for: the largest batches of the data, and the parameters that
  // the model lacks. The job must outlive it. Loads and writes nothing. The errors of CheckData()
  // and of the model's files.
  absl::StatusOr<PlannedRun> DescribeRun();
  // The bytes that the run may take: the ledger's limit, or the memory budget if that is less.
  int64_t limit() const;
  // Plans the settings that a memory budget chooses from, and makes the choice. The errors of
  // DescribeRun() and PlanTraining.
  absl::StatusOr<SettingsChoice> PlanSettings();
  // Plans the run, once. With a memory budget, the run takes the settings that PlanSettings()
  // chooses, and a warning says which. The errors of PlanSettings(), and its `fits`.
  absl::StatusOr<TrainingPlan> Plan();

  // Trains the model and, unless the run is cancelled, writes the result with its report
  // (training.json and training.html). Can be called once. The run is planned first: returns
  // RESOURCE_EXHAUSTED, and allocates nothing for it, if the ledger's limit has no room for the
  // plan's sufficient bytes. The errors of Plan(), TrainableModel::Load, Trainer::Step and
  // CheckpointStore; FAILED_PRECONDITION if there are checkpoints and `resume` is not set.
  // Checkpoints stay after an error.
  absl::StatusOr<RunReport> Run();

 private:
  FineTuning(const FineTuningSpec& spec, const TrainingEnvironment& environment,
             TrainingObserver* observer)
      : spec_(spec), environment_(environment), observer_(observer) {}

  absl::Status ReadModel();
  absl::StatusOr<std::unique_ptr<Dataset>> OpenData(const std::string& file,
                                                    const FileColumns& columns,
                                                    const Labels& labels, std::string_view stage);
  absl::Status OpenDataFiles();
  // All settings that decide the result but the files.
  nlohmann::json Settings() const;
  absl::StatusOr<RunIdentity> Identity(const Checkpoint& checkpoint) const;
  // The batches of a pass over all rows that trains nothing.
  absl::StatusOr<std::unique_ptr<DatasetBatches>> BatchesInOrder(const Dataset* data) const;
  // Makes the batches, and reads the config that the model is trained with.
  absl::Status MakeBatches();
  // Replaces the settings by those that fit the budget, and keeps their plan.
  absl::Status ChooseSettings();
  // Plans the run and checks that it fits the ledger.
  absl::Status CheckMemory();
  // Plans the run with all layers active and all activations as they are.
  absl::StatusOr<TrainingPlan> PlanInFull();
  absl::Status MakeTrainer();
  absl::Status RestoreOrBegin();
  absl::Status ComputeReference();
  absl::StatusOr<RunEnd> Train();
  // Adds to an error where the last checkpoint is, if there is one.
  absl::Status WithLastCheckpoint(const absl::Status& status) const;
  RunReport Report(RunEnd end) const;
  absl::Status WriteModel(const RunReport& report) const;

  FineTuningSpec spec_;
  const TrainingEnvironment environment_;
  TrainingObserver* const observer_;
  std::string source_config_;  // config.json of the model
  std::string config_;         // of the result
  ModelConfig model_config_;
  ModelConfig result_config_;  // parsed; set with the batches
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Dataset> training_data_, evaluation_data_;

  std::optional<TrainingPlan> plan_;  // of the settings
  RunIdentity identity_;
  std::unique_ptr<TrainableModel> model_;
  std::unique_ptr<DatasetBatches> training_batches_, evaluation_batches_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<CheckpointStore> store_;
  std::chrono::system_clock::time_point started_;
  std::vector<double>
      reference_;  // DPO: of the rows of the training data, then the evaluation data
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FINE_TUNING_H_
