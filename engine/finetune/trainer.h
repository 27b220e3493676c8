// Trains a model: batches, objective, gradients, optimizer.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TRAINER_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TRAINER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/finetune/layer_freezing.h"
#include "engine/finetune/learning_rate.h"
#include "engine/finetune/objective.h"
#include "engine/finetune/optimizer.h"
#include "engine/finetune/run_log.h"
#include "engine/finetune/training_options.h"
#include "engine/layers/training/activation_store.h"
#include "engine/layers/training/gradients.h"
#include "engine/layers/training/pass_cost.h"
#include "engine/layers/training/store_policy.h"
#include "engine/layers/training/tensor_heap.h"
#include "engine/models/trainable_model.h"
#include "kernels/context.h"

namespace whipsnake::engine {

// The batches of a training run or of an evaluation.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // Of each epoch; at least 1.
  virtual int64_t batches() const = 0;
  // Returns a batch that is at least as large as every batch. Its token ids mean nothing.
  virtual TrainingBatch Largest() const = 0;
  // Returns the batch `index` of an epoch: the same for every call.
  virtual absl::StatusOr<TrainingBatch> Read(int64_t epoch, int64_t index) = 0;
};

// The resources of training. They must outlive the trainer.
struct TrainingEnvironment {
  Executor* executor = nullptr;
  // If it has no memory, the trainer makes and frees what a run would and computes nothing, for a
  // plan. Of steps with the same active layers, those after the first change moments only, as their
  // tensors are the same. It then needs no executor, and its model no values.
  Ledger* ledger = nullptr;
};

// The bytes of training at their highest, by what holds them.
struct TrainingMemory {
  int64_t activations = 0;  // of the heap: activations, gradients and temporary matrices
  int64_t gradients = 0;    // of these, of parameters
  // Of the heap's tensors by class, each at its own highest.
  std::array<int64_t, kTensorClassCount> classes{};
  int64_t parameters = 0;  // values and their rounded copies
  int64_t moments = 0;
};

// Not thread-safe; computes on the executor with the priority of training. The results do not
// depend on the number of threads or on what else the executor runs.
class Trainer {
 public:
  // Checks the options. The model, the batches and the environment must outlive the trainer.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(TrainableModel* model,
                                                         BatchSource* batches,
                                                         const TrainingOptions& options,
                                                         const TrainingEnvironment& environment);

  int64_t steps() const { return rate_.steps; }  // of the whole run
  int64_t step() const { return std::ssize(log_.steps); }
  bool done() const { return step() >= steps(); }
  int64_t steps_per_epoch() const { return batches_->batches(); }

  // Takes the next step and adds it to the log. If the loss or a gradient is not a finite number,
  // returns OUT_OF_RANGE, naming the step and the layer; the parameters are then those after the
  // step before, unless they are updated in the backward pass. Other errors: those of
  // BatchSource::Read, RESOURCE_EXHAUSTED without memory.
  absl::Status Step();

  // Evaluates the model, without dropout, and adds the result to the log. Returns OUT_OF_RANGE,
  // naming the step and the layer, if the loss is not a finite number; other errors: those of
  // BatchSource::Read, RESOURCE_EXHAUSTED without memory. `progress`, which may be null, can end it
  // with an error.
  absl::Status Evaluate(BatchSource& batches,
                        const std::function<absl::Status(double)>& progress = nullptr);

  // Returns the log-probabilities that the model gives to the responses of all batches of epoch 0,
  // in their order: the reference of DPO. `progress`, which may be null, can end it with an error.
  absl::StatusOr<std::vector<double>> ResponseLogProbabilities(
      BatchSource& batches, const std::function<absl::Status(double)>& progress);

  const RunLog& log() const { return log_; }
  TrainingMemory memory() const;
  const LayerFreezing& freezing() const { return freezing_; }
  // The numbers that may train: those of all parameters but the ones that the options freeze.
  int64_t trainable_elements() const { return trainable_elements_; }
  // The activations that were cut to the range of fixed point; see ActivationStore.
  int64_t saturated() const { return saturated_; }
  // What the last step has computed.
  const PassCost& step_cost() const { return cost_; }
  // Without memory: the different sets of layers that have been active.
  int64_t planned_sets() const { return std::ssize(planned_); }

  // The parts of the state, for checkpoints. The parameters are the model's.
  TrainableModel& model() { return *model_; }
  Optimizer& optimizer() { return optimizer_; }
  LayerScheduler& scheduler() { return freezing_.scheduler(); }
  // Continues after a log's last step, with parameters and moments that have been restored.
  absl::Status Resume(RunLog log);
  const TrainingOptions& options() const { return options_; }

 private:
  Trainer(TrainableModel* model, BatchSource* batches, const TrainingOptions& options,
          const TrainingEnvironment& environment, Optimizer optimizer, LayerFreezing freezing,
          std::unique_ptr<TensorHeap> heap);

  // Runs work() on the executor, in whose context it computes.
  absl::Status OnExecutor(const std::function<absl::Status()>& work);
  TrainingPass NewPass(ActivationStore* store) const;
  void RecordLayersAndMemory(StepRecord& record);
  // Sets which parameters train in this step.
  void ChooseLayers();
  absl::Status ComputeStep(TrainingBatch batch, StepRecord& record, Metrics& metrics);
  // Without memory: takes a step whose layers have been active together before, at this cost.
  absl::Status RepeatStep(const PassCost& cost);
  absl::Status ComputeGradients(std::vector<TrainingBatch> pieces, Metrics& metrics);
  // Returns the norm of all gradients, or an error that names one that is not finite.
  absl::StatusOr<double> GradientNorm();
  absl::Status UpdateParameters(double gradient_scale);
  absl::Status Update(TrainableParameter& parameter, const Tensor& gradient, double gradient_scale);
  // Updates the frozen tensors that have trained before with a gradient of zeros.
  absl::Status DriftFrozen();
  // Returns the sum of the squares of a gradient, or an error that names it if it is not finite.
  absl::StatusOr<double> SumOfSquares(const TrainableParameter& parameter, const Tensor& gradient);
  // Returns OUT_OF_RANGE, naming when it was ("step 3") and the layer.
  absl::Status LossNotFinite(std::string_view when, double loss, const TrainingBatch& batch);

  TrainableModel* const model_;
  BatchSource* const batches_;
  const TrainingOptions options_;
  const TrainingEnvironment environment_;
  const std::unique_ptr<Objective> objective_;
  LearningRate rate_;
  const StorePolicy policy_;
  Optimizer optimizer_;
  LayerFreezing freezing_;
  const std::unique_ptr<TensorHeap> heap_;
  Gradients gradients_;
  RunLog log_;
  TrainingMemory peak_;  // of the heap
  PassCost cost_;
  std::map<std::vector<bool>, PassCost> planned_;  // without memory: by the active layers
  int64_t trainable_elements_ = 0;
  int64_t saturated_ = 0;
  kernels::Context context_;  // of the unit that runs now
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TRAINER_H_
