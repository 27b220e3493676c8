#include "engine/finetune/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/finetune/name_pattern.h"
#include "engine/finetune/token_rows.h"
#include "engine/layers/training/write_zeros.h"
#include "kernels/optimizer/optimizer.h"

namespace whipsnake::engine {
namespace {

// The addresses of the heap if the ledger has no limit; pages that are not used cost nothing.
constexpr int64_t kHeapAddresses = int64_t{1} << 38;

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t StepsOf(const TrainingOptions& options, int64_t batches) {
  const auto steps = static_cast<int64_t>(std::ceil(options.epochs * static_cast<double>(batches)));
  return options.max_steps > 0 ? std::min(steps, options.max_steps) : steps;
}

// The examples of a step, in the pieces that go through the model at once.
std::vector<TrainingBatch> SplitBatch(TrainingBatch batch, int64_t micro_batch) {
  const int64_t count = std::ssize(batch.examples);
  if (micro_batch == 0 || count <= micro_batch) {
    std::vector<TrainingBatch> whole;
    whole.push_back(std::move(batch));
    return whole;
  }
  std::vector<TrainingBatch> pieces;
  for (int64_t first = 0; first < count; first += micro_batch) {
    const int64_t end = std::min(first + micro_batch, count);
    TrainingBatch& piece = pieces.emplace_back();
    for (int64_t i = first; i < end; ++i) {
      piece.examples.push_back(std::move(batch.examples[i]));
      if (batch.reference.empty()) continue;
      piece.reference.insert(piece.reference.end(), batch.reference.begin() + 2 * i,
                             batch.reference.begin() + 2 * i + 2);
    }
  }
  return pieces;
}

// The factor that scales gradients of this norm down to the largest allowed one, as
// torch.nn.utils.clip_grad_norm_ does.
double ClipFactor(double norm, double max_norm) {
  return max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1;
}

std::optional<double> AccuracyOf(Task task, const Metrics& metrics) {
  if (task == Task::kRegression) return std::nullopt;
  return metrics.Accuracy();
}

std::optional<double> MarginOf(Task task, const Metrics& metrics) {
  if (task != Task::kDpo) return std::nullopt;
  return metrics.MeanMargin();
}

// Marks the parameters that the options freeze.
absl::Status Freeze(const std::vector<std::string>& patterns, TrainableParameters& parameters) {
  for (const std::string& pattern : patterns) {
    RETURN_IF_ERROR(CheckMatchesAny("freeze", pattern, parameters));
  }
  bool any_trains = false;
  for (TrainableParameter& parameter : parameters.all()) {
    parameter.trains = std::ranges::none_of(patterns, [&](const std::string& pattern) {
      return MatchesPattern(pattern, parameter.name);
    });
    any_trains |= parameter.trains;
  }
  if (any_trains) return absl::OkStatus();
  return InvalidField("freeze", Quoted(absl::StrJoin(patterns, ", ")),
                      "patterns that leave a tensor to train: these match all of them");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(TrainableModel* model,
                                                         BatchSource* batches,
                                                         const TrainingOptions& options,
                                                         const TrainingEnvironment& environment) {
  RETURN_IF_ERROR(Validate(options));
  RETURN_IF_ERROR(Freeze(options.freeze, model->parameters()));
  const std::vector<TrainingBatch> largest = SplitBatch(batches->Largest(), options.micro_batch);
  ASSIGN_OR_RETURN(LayerFreezing freezing,
                   LayerFreezing::Create(options.freezing, options.seed, options.store_policy(),
                                         largest.front().tokens(), model));
  ASSIGN_OR_RETURN(Optimizer optimizer,
                   Optimizer::Create(options.optimizer, model->parameters(), environment.ledger));
  const int64_t limit = environment.ledger->limit();
  ASSIGN_OR_RETURN(auto heap,
                   TensorHeap::Create(environment.ledger, limit > 0 ? limit : kHeapAddresses));
  auto trainer =
      absl::WrapUnique(new Trainer(model, batches, options, environment, std::move(optimizer),
                                   std::move(freezing), std::move(heap)));
  RETURN_IF_ERROR(trainer->Resume({}));
  return trainer;
}

Trainer::Trainer(TrainableModel* model, BatchSource* batches, const TrainingOptions& options,
                 const TrainingEnvironment& environment, Optimizer optimizer,
                 LayerFreezing freezing, std::unique_ptr<TensorHeap> heap)
    : model_(model),
      batches_(batches),
      options_(options),
      environment_(environment),
      objective_(MakeObjective(options.task, options.objective)),
      policy_(options.store_policy()),
      optimizer_(std::move(optimizer)),
      freezing_(std::move(freezing)),
      heap_(std::move(heap)),
      gradients_(heap_.get(), options.update_in_backward
                                  ? [this](TrainableParameter& parameter, const Tensor& gradient) {
                                      RETURN_IF_ERROR(SumOfSquares(parameter, gradient).status());
                                      return Update(parameter, gradient, /*gradient_scale=*/1);
                                    }
                                  : Gradients::Complete()) {
  for (const TrainableParameter& parameter : model->parameters().all()) {
    if (parameter.trains) trainable_elements_ += parameter.elements();
  }
  rate_.schedule = options.schedule;
  rate_.rate = options.learning_rate;
  rate_.steps = StepsOf(options, batches->batches());
  rate_.warmup_steps = std::llround(options.warmup * static_cast<double>(rate_.steps));
}

absl::Status Trainer::OnExecutor(const std::function<absl::Status()>& work) {
  if (environment_.executor == nullptr) return work();
  absl::Status status;
  RETURN_IF_ERROR(
      environment_.executor->TryRun(Priority::kTraining, [&](const kernels::Context& context) {
        context_ = context;
        status = work();
      }));
  return status;
}

absl::Status Trainer::Resume(RunLog log) {
  log_ = std::move(log);
  return OnExecutor([&] {
    if (heap_->has_memory()) model_->parameters().Round(context_);
    return absl::OkStatus();
  });
}

TrainingPass Trainer::NewPass(ActivationStore* store) const {
  return {.context = context_, .heap = heap_.get(), .store = store, .seed = options_.seed};
}

absl::Status Trainer::Step() {
  const Clock::time_point start = Clock::now();
  const int64_t epoch = step() / batches_->batches();
  ASSIGN_OR_RETURN(TrainingBatch batch, batches_->Read(epoch, step() % batches_->batches()));
  StepRecord record{.step = step() + 1,
                    .epoch = static_cast<double>(step() + 1) / batches_->batches(),
                    .learning_rate = rate_.At(step()),
                    .examples = std::ssize(batch.examples)};
  Metrics metrics;
  ChooseLayers();
  heap_->ResetPeaks();
  cost_ = {};
  const absl::Status updated = OnExecutor([&]() -> absl::Status {
    const auto planned = planned_.find(freezing_.active());
    RETURN_IF_ERROR(planned != planned_.end() ? RepeatStep(planned->second)
                                              : ComputeStep(std::move(batch), record, metrics));
    return options_.freezing.legacy_drift ? DriftFrozen() : absl::OkStatus();
  });
  RETURN_IF_ERROR(updated);
  if (heap_->has_memory()) {
    freezing_.Observe(step(), record.learning_rate);
  } else {
    freezing_.ObserveRandom(step(), record.learning_rate);
  }
  RecordLayersAndMemory(record);
  record.loss = metrics.MeanLoss();
  record.accuracy = AccuracyOf(options_.task, metrics);
  record.margin = MarginOf(options_.task, metrics);
  record.tokens = metrics.tokens;
  record.seconds = SecondsSince(start);
  log_.steps.push_back(record);
  return absl::OkStatus();
}

absl::Status Trainer::ComputeStep(TrainingBatch batch, StepRecord& record, Metrics& metrics) {
  RETURN_IF_ERROR(ComputeGradients(SplitBatch(std::move(batch), options_.micro_batch), metrics));
  if (!options_.update_in_backward) {
    ASSIGN_OR_RETURN(record.gradient_norm, GradientNorm());
    RETURN_IF_ERROR(
        UpdateParameters(ClipFactor(*record.gradient_norm, options_.max_gradient_norm)));
  }
  if (!heap_->has_memory()) planned_[freezing_.active()] = cost_;
  return absl::OkStatus();
}

absl::Status Trainer::RepeatStep(const PassCost& cost) {
  for (TrainableParameter& parameter : model_->parameters().all()) {
    if (parameter.trains) RETURN_IF_ERROR(Update(parameter, Tensor(), /*gradient_scale=*/1));
  }
  cost_ = cost;
  return absl::OkStatus();
}

void Trainer::ChooseLayers() {
  freezing_.Choose(step());
  if (options_.optimizer.moments != MomentKind::kDrop) return;
  for (const TrainableParameter& parameter : model_->parameters().all()) {
    if (!parameter.trains) optimizer_.Drop(parameter);
  }
}

void Trainer::RecordLayersAndMemory(StepRecord& record) {
  if (options_.freezing.scheduler != SchedulerKind::kFull) record.active = freezing_.active();
  record.heap_bytes = heap_->peak_bytes();
  record.moment_bytes = optimizer_.bytes();
  peak_.moments = std::max(peak_.moments, record.moment_bytes);
  for (int i = 0; i < kTensorClassCount; ++i) {
    const int64_t bytes = heap_->peak_bytes(static_cast<TensorClass>(i));
    record.class_bytes[i] = bytes;
    peak_.classes[i] = std::max(peak_.classes[i], bytes);
  }
}

absl::Status Trainer::ComputeGradients(std::vector<TrainingBatch> pieces, Metrics& metrics) {
  int64_t targets = 0;
  for (const TrainingBatch& piece : pieces) targets += objective_->Targets(piece.examples);
  gradients_.Clear();
  gradients_.BeginStep(static_cast<int>(pieces.size()));
  for (size_t i = 0; i < pieces.size(); ++i) {
    ActivationStore store(policy_, heap_.get());
    TrainingPass pass = NewPass(&store);
    pass.gradients = &gradients_;
    pass.cost = &cost_;
    // DPO compares the policy's probabilities with those of the reference, which has no dropout.
    pass.dropout = options_.task != Task::kDpo;
    pass.number = static_cast<uint64_t>(step() * options_.accumulation()) + i;
    RETURN_IF_ERROR(objective_->Run(
        pass, *model_, pieces[i], 1 / static_cast<double>(std::max<int64_t>(targets, 1)), metrics));
    saturated_ += store.saturated();
    if (std::isfinite(metrics.loss)) continue;
    return LossNotFinite(absl::StrCat("step ", step() + 1), metrics.loss, pieces[i]);
  }
  return absl::OkStatus();
}

absl::StatusOr<double> Trainer::SumOfSquares(const TrainableParameter& parameter,
                                             const Tensor& gradient) {
  if (!heap_->has_memory()) return 0;
  const double squares = kernels::SumOfSquares(context_, gradient.data(), parameter.elements());
  kernels::Pause(context_);
  if (std::isfinite(squares)) return squares;
  return absl::OutOfRangeError(absl::StrCat(
      "step ", step() + 1, ": the gradient of ", parameter.name,
      " is not a finite number; use a lower learning rate than ", options_.learning_rate));
}

absl::StatusOr<double> Trainer::GradientNorm() {
  double squares = 0;
  for (const TrainableParameter& parameter : model_->parameters().all()) {
    const Tensor gradient = gradients_.Get(parameter);
    if (gradient.empty()) continue;
    ASSIGN_OR_RETURN(const double more, SumOfSquares(parameter, gradient));
    squares += more;
  }
  return std::sqrt(squares);
}

absl::Status Trainer::UpdateParameters(double gradient_scale) {
  for (TrainableParameter& parameter : model_->parameters().all()) {
    const Tensor gradient = gradients_.Get(parameter);
    if (gradient.empty()) continue;
    RETURN_IF_ERROR(Update(parameter, gradient, gradient_scale));
  }
  gradients_.Clear();
  return absl::OkStatus();
}

absl::Status Trainer::Update(TrainableParameter& parameter, const Tensor& gradient,
                             double gradient_scale) {
  cost_ += PassCost::Numbers(7 * parameter.elements());  // g; w, m and v, read and written
  const bool measures = freezing_.Measures(parameter);
  kernels::UpdateMeasure measure;
  RETURN_IF_ERROR(optimizer_.Update(context_, parameter, gradient.data(), rate_.At(step()),
                                    gradient_scale, measures ? &measure : nullptr));
  kernels::Pause(context_);
  if (measures) {
    freezing_.SetMeasure(parameter, measure, gradient_scale,
                         optimizer_.LearningRateFactor(parameter));
  }
  return absl::OkStatus();
}

absl::Status Trainer::DriftFrozen() {
  for (TrainableParameter& parameter : model_->parameters().all()) {
    if (parameter.trains || optimizer_.step(parameter) == 0) continue;
    ASSIGN_OR_RETURN(const Tensor zeros, heap_->New(1, parameter.elements()));
    if (heap_->has_memory()) WriteZeros(context_, zeros.data(), zeros.elements());
    RETURN_IF_ERROR(Update(parameter, zeros, /*gradient_scale=*/1));
  }
  return absl::OkStatus();
}

absl::Status Trainer::LossNotFinite(std::string_view when, double loss,
                                    const TrainingBatch& batch) {
  const TokenRows rows(batch.examples);
  ActivationStore store(StorePolicy::Discard(), heap_.get());
  TrainingPass pass = NewPass(&store);
  pass.sequences = rows.sequences;
  pass.arithmetic = model_->arithmetic();
  ASSIGN_OR_RETURN(const std::string layer, model_->FindNotFinite(pass, rows.tokens));
  return absl::OutOfRangeError(absl::StrCat(ToAbsl(when), ": the loss is ", loss, ", because of ",
                                            layer, "; use a lower learning rate than ",
                                            options_.learning_rate));
}

absl::Status Trainer::Evaluate(BatchSource& batches,
                               const std::function<absl::Status(double)>& progress) {
  const Clock::time_point start = Clock::now();
  Metrics metrics;
  for (int64_t i = 0; i < batches.batches(); ++i) {
    if (progress) {
      RETURN_IF_ERROR(progress(static_cast<double>(i) / static_cast<double>(batches.batches())));
    }
    ASSIGN_OR_RETURN(const TrainingBatch batch, batches.Read(/*epoch=*/0, i));
    const absl::Status computed = OnExecutor([&]() -> absl::Status {
      ActivationStore store(StorePolicy::Discard(), heap_.get());
      TrainingPass pass = NewPass(&store);
      RETURN_IF_ERROR(objective_->Run(pass, *model_, batch, /*factor=*/0, metrics));
      if (std::isfinite(metrics.loss)) return absl::OkStatus();
      return LossNotFinite(absl::StrCat("evaluation after step ", step()), metrics.loss, batch);
    });
    RETURN_IF_ERROR(computed);
  }
  log_.evaluations.push_back({.step = step(),
                              .loss = metrics.MeanLoss(),
                              .accuracy = AccuracyOf(options_.task, metrics),
                              .margin = MarginOf(options_.task, metrics),
                              .targets = metrics.targets,
                              .seconds = SecondsSince(start)});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> Trainer::ResponseLogProbabilities(
    BatchSource& batches, const std::function<absl::Status(double)>& progress) {
  std::vector<double> all;
  for (int64_t i = 0; i < batches.batches(); ++i) {
    if (progress) {
      RETURN_IF_ERROR(progress(static_cast<double>(i) / static_cast<double>(batches.batches())));
    }
    ASSIGN_OR_RETURN(const TrainingBatch batch, batches.Read(/*epoch=*/0, i));
    const absl::Status computed = OnExecutor([&]() -> absl::Status {
      ActivationStore store(StorePolicy::Discard(), heap_.get());
      TrainingPass pass = NewPass(&store);
      ASSIGN_OR_RETURN(const std::vector<double> sums,
                       engine::ResponseLogProbabilities(pass, *model_, batch.examples));
      all.insert(all.end(), sums.begin(), sums.end());
      return absl::OkStatus();
    });
    RETURN_IF_ERROR(computed);
  }
  return all;
}

TrainingMemory Trainer::memory() const {
  TrainingMemory memory{.activations = heap_->reserved_bytes(),
                        .gradients = peak_.classes[static_cast<int>(TensorClass::kGradient)],
                        .classes = peak_.classes,
                        .moments = std::max(peak_.moments, optimizer_.bytes())};
  for (const TrainableParameter& parameter : model_->parameters().all()) {
    memory.parameters += parameter.value.size() + parameter.rounded.size();
  }
  return memory;
}

}  // namespace whipsnake::engine
