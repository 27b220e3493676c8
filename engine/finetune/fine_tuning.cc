#include "engine/finetune/fine_tuning.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/memory/memory.h"
#include "engine/base/files.h"
#include "engine/base/human.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/checkpoint/model_digest.h"
#include "engine/finetune/result.h"
#include "engine/finetune/task_config.h"
#include "engine/models/family.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kDefaultLength = 1024;

absl::StatusOr<int64_t> ChooseLength(int64_t wanted, const ModelConfig& config) {
  const int64_t positions = config.max_positions;
  if (wanted == 0) return positions > 0 ? std::min(kDefaultLength, positions) : kDefaultLength;
  if (wanted < 2) return InvalidField("max_length", absl::StrCat(wanted), "at least 2 tokens");
  if (positions == 0 || wanted <= positions) return wanted;
  return InvalidField("max_length", absl::StrCat(wanted),
                      absl::StrCat("at most the model's ", positions, " positions"));
}

// The parameters of a config that a checkpoint need not have and does not, so that they are drawn.
std::vector<std::string> FreshParameters(const ModelConfig& config, const Checkpoint& checkpoint) {
  std::vector<std::string> fresh;
  for (const ParameterSpec& spec : config.family->parameters(config)) {
    const std::string name = config.family->stored_name(checkpoint, spec);
    if (spec.may_be_missing && !checkpoint.Contains(name)) fresh.push_back(spec.name);
  }
  return fresh;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FineTuning>> FineTuning::Prepare(
    const FineTuningSpec& spec, const TrainingEnvironment& environment,
    TrainingObserver* observer) {
  RETURN_IF_ERROR(Validate(spec.training));
  auto job = absl::WrapUnique(new FineTuning(spec, environment, observer));
  RETURN_IF_ERROR(job->ReadModel());
  RETURN_IF_ERROR(job->OpenDataFiles());
  return job;
}

absl::Status FineTuning::ReadModel() {
  const std::filesystem::path directory(spec_.model);
  ASSIGN_OR_RETURN(source_config_, ReadTextFile(directory / "config.json"));
  ASSIGN_OR_RETURN(model_config_, ReadModelConfig(spec_.model));
  RETURN_IF_ERROR(TrainableModel::CheckCanTrain(model_config_));
  if (spec_.training.task != Task::kClassification) {  // which has the labels of the data
    RETURN_IF_ERROR(ConfigForTask(source_config_, spec_.training.task, Labels()).status());
  }
  ASSIGN_OR_RETURN(tokenizer_, Tokenizer::LoadDirectory(directory));
  ASSIGN_OR_RETURN(spec_.max_length, ChooseLength(spec_.max_length, model_config_));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Dataset>> FineTuning::OpenData(const std::string& file,
                                                              const FileColumns& columns,
                                                              const Labels& labels,
                                                              std::string_view stage) {
  const std::vector<int32_t>& eos = model_config_.eos_token_ids;
  const DatasetOptions options{.task = spec_.training.task,
                               .max_length = spec_.max_length,
                               .packed = spec_.packed,
                               .end_of_text = eos.empty() ? -1 : eos.front(),
                               .vocabulary = model_config_.vocab_size,
                               .format = {},
                               .header = columns.header,
                               .label_column = columns.label_column,
                               .labels = labels};
  return Dataset::Open(
      file, options, tokenizer_.get(), environment_.ledger,
      [&](std::string_view, double fraction) { return observer_->OnStage(stage, fraction); });
}

absl::Status FineTuning::OpenDataFiles() {
  Labels labels;
  if (spec_.training.task == Task::kClassification) {
    ASSIGN_OR_RETURN(labels, HeadLabels(source_config_));
  }
  ASSIGN_OR_RETURN(training_data_, OpenData(spec_.training_file, spec_.training_columns, labels,
                                            "Reading the training data"));
  if (spec_.evaluation_file.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(evaluation_data_,
                   OpenData(spec_.evaluation_file, spec_.evaluation_columns,
                            training_data_->labels(), "Reading the evaluation data"));
  return absl::OkStatus();
}

absl::Status FineTuning::CheckData() {
  if (!config_.empty()) return absl::OkStatus();  // checked before
  for (const Dataset* data : {training_data_.get(), evaluation_data_.get()}) {
    if (data == nullptr) continue;
    RETURN_IF_ERROR(Check(data->report()));
    for (const std::string& warning : Warnings(data->report())) observer_->OnWarning(warning);
  }
  ASSIGN_OR_RETURN(config_,
                   ConfigForTask(source_config_, spec_.training.task, training_data_->labels()));
  return absl::OkStatus();
}

nlohmann::json FineTuning::Settings() const {
  nlohmann::json settings = ToJson(spec_.training);
  settings["max_length"] = spec_.max_length;
  settings["packed"] = spec_.packed;
  settings["header"] = spec_.training_columns.header;
  settings["label_column"] = spec_.training_columns.label_column;
  if (!spec_.evaluation_file.empty() && spec_.evaluation_columns != spec_.training_columns) {
    settings["evaluation_header"] = spec_.evaluation_columns.header;
    settings["evaluation_label_column"] = spec_.evaluation_columns.label_column;
  }
  return settings;
}

absl::StatusOr<RunIdentity> FineTuning::Identity(const Checkpoint& checkpoint) const {
  RunIdentity identity;
  identity.settings = Settings().dump();
  identity.training_data = training_data_->digest();
  if (evaluation_data_ != nullptr) identity.evaluation_data = evaluation_data_->digest();
  identity.labels = training_data_->labels().names();
  ASSIGN_OR_RETURN(identity.model, DigestModel(spec_.model, checkpoint));
  return identity;
}

absl::StatusOr<std::unique_ptr<DatasetBatches>> FineTuning::BatchesInOrder(
    const Dataset* data) const {
  const TrainingOptions& options = spec_.training;
  const int64_t batch = options.micro_batch > 0 ? options.micro_batch : options.batch_size;
  return DatasetBatches::Make(data, {.batch_size = batch, .shuffle = false}, environment_.ledger);
}

absl::Status FineTuning::MakeBatches() {
  if (training_batches_ != nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(CheckData());
  ASSIGN_OR_RETURN(result_config_, ParseModelConfig(config_));
  const TrainingOptions& options = spec_.training;
  if (evaluation_data_ != nullptr) {
    ASSIGN_OR_RETURN(evaluation_batches_, BatchesInOrder(evaluation_data_.get()));
  }
  ASSIGN_OR_RETURN(training_batches_,
                   DatasetBatches::Make(training_data_.get(),
                                        {.batch_size = options.batch_size, .seed = options.seed},
                                        environment_.ledger));
  return absl::OkStatus();
}

absl::StatusOr<PlannedRun> FineTuning::DescribeRun() {
  RETURN_IF_ERROR(MakeBatches());
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(spec_.model));
  PlannedRun run;
  run.config = &result_config_;
  run.options = spec_.training;
  run.fresh = FreshParameters(result_config_, *checkpoint);
  run.training = training_batches_->Largest();
  if (evaluation_batches_ != nullptr) run.evaluation = evaluation_batches_->Largest();
  run.batches_per_epoch = training_batches_->batches();
  run.is_ragged = !training_data_->options().packs();
  run.held_bytes = environment_.ledger->used();
  return run;
}

int64_t FineTuning::limit() const {
  int64_t limit = std::numeric_limits<int64_t>::max();
  for (const int64_t bytes : {environment_.ledger->limit(), spec_.memory_budget}) {
    if (bytes > 0) limit = std::min(limit, bytes);
  }
  return limit;
}

absl::StatusOr<SettingsChoice> FineTuning::PlanSettings() {
  ASSIGN_OR_RETURN(const PlannedRun run, DescribeRun());
  SettingsChoice choice;
  ASSIGN_OR_RETURN(choice.candidates, PlanCandidates(run, spec_.given));
  const absl::StatusOr<const Candidate*> fit = FitToBudget(choice.candidates, limit());
  choice.fits = fit.status();
  if (spec_.memory_budget > 0 && fit.ok()) {
    choice.chosen = **fit;
    return choice;
  }
  choice.chosen.options = run.options;
  ASSIGN_OR_RETURN(choice.chosen.plan, PlanTraining(run));
  return choice;
}

absl::Status FineTuning::ChooseSettings() {
  ASSIGN_OR_RETURN(const SettingsChoice choice, PlanSettings());
  RETURN_IF_ERROR(choice.fits);
  spec_.training = choice.chosen.options;
  plan_ = choice.chosen.plan;
  observer_->OnWarning(absl::StrCat("for the memory budget, the settings are ",
                                    MemorySettingsText(spec_.training), "; the planned peak is ",
                                    HumanBytes(plan_->peak_bytes)));
  return absl::OkStatus();
}

absl::StatusOr<TrainingPlan> FineTuning::Plan() {
  if (plan_) return *plan_;
  if (spec_.memory_budget > 0) {
    RETURN_IF_ERROR(ChooseSettings());
  } else {
    ASSIGN_OR_RETURN(const PlannedRun run, DescribeRun());
    ASSIGN_OR_RETURN(plan_, PlanTraining(run));
  }
  return *plan_;
}

absl::StatusOr<TrainingPlan> FineTuning::PlanInFull() {
  ASSIGN_OR_RETURN(PlannedRun run, DescribeRun());
  run.options.freezing = {};
  run.options.compression = Compression::kNone;
  run.options.gradient_checkpointing = false;
  run.options.max_steps = 1;  // all steps are alike
  return PlanTraining(run);
}

absl::Status FineTuning::CheckMemory() {
  RETURN_IF_ERROR(observer_->OnStage("Planning", 0));
  ASSIGN_OR_RETURN(const TrainingPlan plan, Plan());
  // What has been read and freed before, such as the index of the data while it grew, may have
  // taken more.
  plan_->peak_bytes = std::max(plan.peak_bytes, environment_.ledger->peak());
  const absl::Status fits =
      environment_.ledger->CheckFits(plan.sufficient_bytes() - plan.held_bytes, "the training run");
  if (fits.ok()) {
    ASSIGN_OR_RETURN(const TrainingPlan full, PlanInFull());
    observer_->OnPlan(plan, full);
    return absl::OkStatus();
  }
  if (spec_.memory_budget > 0) return fits;
  return absl::Status(fits.code(),
                      absl::StrCat(fits.message(), "; a memory_budget chooses settings that fit"));
}

absl::Status FineTuning::MakeTrainer() {
  RETURN_IF_ERROR(observer_->OnStage("Loading the model", 0));
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(spec_.model));
  ASSIGN_OR_RETURN(identity_, Identity(*checkpoint));
  ASSIGN_OR_RETURN(model_, TrainableModel::Load(result_config_, *checkpoint,
                                                {.arithmetic = spec_.training.arithmetic,
                                                 .dropout = spec_.training.dropout,
                                                 .seed = spec_.training.seed},
                                                *environment_.ledger));
  RETURN_IF_ERROR(checkpoint->Check());
  for (const std::string& name : model_->fresh()) {
    observer_->OnWarning(absl::StrCat("the model has no ", name, ": it is drawn at random"));
  }
  for (const std::string& name : model_->dropped()) {
    observer_->OnWarning(absl::StrCat(name, " is not part of the fine-tuned model"));
  }
  ASSIGN_OR_RETURN(trainer_, Trainer::Create(model_.get(), training_batches_.get(), spec_.training,
                                             environment_));
  return absl::OkStatus();
}

absl::Status FineTuning::RestoreOrBegin() {
  ASSIGN_OR_RETURN(store_, CheckpointStore::Open(spec_.checkpoint_directory()));
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, store_->List());
  if (!spec_.resume) {
    if (steps.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "checkpoints: ", spec_.checkpoint_directory(), " has a checkpoint of step ", steps.back(),
        ", expected none for a new run; resume that run, or choose another directory"));
  }
  std::vector<std::string> warnings;
  ASSIGN_OR_RETURN(const std::optional<TrainingCheckpoint> checkpoint, store_->Latest(warnings));
  for (const std::string& warning : warnings) observer_->OnWarning(warning);
  if (!checkpoint) {
    observer_->OnWarning("there is no checkpoint: training begins at the first step");
    return absl::OkStatus();
  }
  const absl::Status restored = checkpoint->Restore(identity_, *trainer_, environment_.ledger);
  if (absl::IsFailedPrecondition(restored)) {
    return WithClientMessage(
        WithContext(restored, absl::StrCat("checkpoints: ", spec_.checkpoint_directory(),
                                           " has another run")),
        absl::StrCat("the checkpoints are of another run: ", ClientMessage(restored)));
  }
  RETURN_IF_ERROR(restored);
  reference_ = checkpoint->reference();
  return absl::OkStatus();
}

absl::Status FineTuning::ComputeReference() {
  if (spec_.training.task != Task::kDpo) return absl::OkStatus();
  if (reference_.empty()) {  // of a new run
    for (const Dataset* data : {training_data_.get(), evaluation_data_.get()}) {
      if (data == nullptr) continue;
      ASSIGN_OR_RETURN(const auto batches, BatchesInOrder(data));
      ASSIGN_OR_RETURN(const std::vector<double> sums,
                       trainer_->ResponseLogProbabilities(*batches, [&](double fraction) {
                         return observer_->OnStage("Computing the reference", fraction);
                       }));
      reference_.insert(reference_.end(), sums.begin(), sums.end());
    }
  }
  const int64_t rows =
      training_data_->size() + (evaluation_data_ != nullptr ? evaluation_data_->size() : 0);
  if (std::ssize(reference_) != 2 * rows) {
    return absl::DataLossError(absl::StrCat("the checkpoint has a reference of ", reference_.size(),
                                            " numbers, expected ", 2 * rows));
  }
  const auto end_of_training = reference_.begin() + 2 * training_data_->size();
  training_batches_->SetReference({reference_.begin(), end_of_training});
  if (evaluation_batches_ != nullptr) {
    evaluation_batches_->SetReference({end_of_training, reference_.end()});
  }
  return absl::OkStatus();
}

absl::StatusOr<RunEnd> FineTuning::Train() {
  return RunTrainingLoop(
      {.trainer = trainer_.get(),
       .evaluation = evaluation_batches_.get(),
       .store = &*store_,
       .identity = &identity_,
       .reference = reference_,
       .keep_checkpoints = spec_.keep_checkpoints,
       .best_file = std::filesystem::path(spec_.checkpoint_directory()) / "best.safetensors",
       .observer = observer_});
}

absl::Status FineTuning::WithLastCheckpoint(const absl::Status& status) const {
  const auto steps = store_->List();
  if (status.ok() || !steps.ok() || steps->empty()) return status;
  const std::string last = absl::StrCat("; the last checkpoint, of step ", steps->back());
  absl::Status extended(status.code(), absl::StrCat(status.message(), last, ", is in ",
                                                    spec_.checkpoint_directory()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { extended.SetPayload(url, payload); });
  return WithClientMessage(extended, absl::StrCat(ClientMessage(status), last, ", is kept"));
}

RunReport FineTuning::Report(RunEnd end) const {
  const auto elapsed = std::chrono::system_clock::now() - started_;
  RunReport report;
  report.version = spec_.version;
  report.started =
      std::chrono::duration_cast<std::chrono::seconds>(started_.time_since_epoch()).count();
  report.seconds = std::chrono::duration<double>(elapsed).count();
  report.model = std::filesystem::path(StripTrailingSlashes(spec_.model)).filename();
  report.family = model_config_.family->name;
  report.parameters = trainer_->trainable_elements();
  report.fresh = model_->fresh();
  report.dropped = model_->dropped();
  report.options = spec_.training;
  report.layers = trainer_->freezing().layers();
  report.log = trainer_->log();
  report.training_data = training_data();
  if (evaluation_data() != nullptr) report.evaluation_data = *evaluation_data();
  report.memory = trainer_->memory();
  report.planned_peak_bytes = plan_->peak_bytes;
  report.peak_bytes = environment_.ledger->peak();
  report.ended = end;
  return report;
}

absl::Status FineTuning::WriteModel(const RunReport& report) const {
  nlohmann::ordered_json json = ToJson(report);
  json["options"] = Settings();
  return WriteResult(
      model_->parameters(),
      {.source = spec_.model,
       .config = config_,
       .dtype = spec_.out_dtype,
       .more_files = {{"training.json", json.dump(1) + "\n"}, {"training.html", ToHtml(report)}}},
      spec_.out);
}

absl::StatusOr<RunReport> FineTuning::Run() {
  started_ = std::chrono::system_clock::now();
  RETURN_IF_ERROR(CheckOut(spec_));
  RETURN_IF_ERROR(CheckMemory());
  RETURN_IF_ERROR(MakeTrainer());
  RETURN_IF_ERROR(RestoreOrBegin());
  RETURN_IF_ERROR(ComputeReference());
  const absl::StatusOr<RunEnd> end = Train();
  if (trainer_->saturated() > 0) {
    observer_->OnWarning(absl::StrCat(HumanCount(trainer_->saturated()),
                                      " activations were beyond the range of fixed point, -8 to "
                                      "7.94, and were cut to it for the backward pass"));
  }
  if (!end.ok()) return WithLastCheckpoint(end.status());
  RunReport report = Report(*end);
  if (*end != RunEnd::kCancelled) RETURN_IF_ERROR(WithLastCheckpoint(WriteModel(report)));
  return report;
}

}  // namespace whipsnake::engine
