// whipsnake train
#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "engine/base/executor.h"
#include "engine/base/human.h"
#include "engine/base/memory.h"
#include "engine/base/resources.h"
#include "engine/base/status.h"
#include "engine/finetune/fine_tuning.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/progress.h"
#include "server/cli/train_flags.h"
#include "server/cli/train_plan.h"
#include "server/version.h"

namespace whipsnake::server {
namespace {

struct TrainCommandFlags {
  TrainFlags settings;
  bool validate_only = false, plan = false;
  int threads = engine::DetectResources().threads;
};

// "  accuracy 0.6120", or "" without measures besides the loss.
std::string MoreMeasures(const std::optional<double>& accuracy,
                         const std::optional<double>& margin) {
  std::string text;
  if (accuracy) text += absl::StrFormat("  accuracy %.4f", *accuracy);
  if (margin) text += absl::StrFormat("  margin %.4f", *margin);
  return text;
}

// "  4/75 layers", or "" without a scheduler.
std::string ActiveLayers(const engine::StepRecord& record) {
  if (record.active.empty()) return "";
  return absl::StrFormat("  %d/%d layers", std::ranges::count(record.active, true),
                         record.active.size());
}

// Shows a job on the terminal: a bar with the remaining time, and a line for each evaluation. With
// --json, one object on a line for each event.
class TrainingDisplay : public engine::TrainingObserver {
 public:
  TrainingDisplay(const Output& output, const std::atomic<bool>& interrupted)
      : output_(output), interrupted_(interrupted) {}

  // Erases the bar, where other text is written.
  void Clear() {
    bar_.reset();
    stage_.clear();
  }

  absl::Status OnStage(std::string_view stage, double fraction) override {
    Show(stage, stage, fraction);
    return interrupted_ ? absl::CancelledError("interrupted before training; nothing is lost")
                        : absl::OkStatus();
  }
  void OnPlan(const engine::TrainingPlan& plan, const engine::TrainingPlan& full) override {
    const double ratio =
        static_cast<double>(plan.memory.activations) / static_cast<double>(full.memory.activations);
    if (ratio < 1) saving_ = absl::StrFormat(" (%+.0f%%)", 100 * (ratio - 1));
  }
  absl::Status OnStep(const engine::Trainer& trainer) override {
    const engine::StepRecord& record = trainer.log().steps.back();
    if (output_.json()) Event("step", engine::ToJson(record));
    Show("Training", StepText(record, trainer.steps()),
         static_cast<double>(record.step) / static_cast<double>(trainer.steps()));
    return interrupted_ ? absl::CancelledError("interrupted") : absl::OkStatus();
  }
  void OnEvaluation(const engine::EvaluationRecord& record) override {
    if (output_.json()) return Event("evaluation", engine::ToJson(record));
    Clear();
    std::cout << absl::StrFormat("step %d: evaluation loss %.4f%s  (%s)\n", record.step,
                                 record.loss, MoreMeasures(record.accuracy, record.margin),
                                 engine::HumanDuration(record.seconds))
              << std::flush;
  }
  void OnCheckpoint(int64_t step) override {
    if (output_.json()) Event("checkpoint", {{"step", step}});
  }
  void OnWarning(std::string_view text) override {
    if (output_.json()) return Event("warning", {{"text", std::string(text)}});
    Clear();
    std::cerr << "note: " << text << "\n";
  }

 private:
  // "step 12/300  loss 2.3140  4/75 layers  312.4 MiB (-61%)  accuracy 0.6120  1,200 tokens/s",
  // with what a narrow terminal has no room for at the end.
  std::string StepText(const engine::StepRecord& record, int64_t steps) const {
    return absl::StrFormat(
        "step %d/%d  loss %.4f%s  %s%s  %s tokens/s", record.step, steps, record.loss,
        ActiveLayers(record), HeapText(record.heap_bytes),
        MoreMeasures(record.accuracy, record.margin),
        engine::HumanNumber(static_cast<double>(record.tokens) / record.seconds, 3));
  }
  std::string HeapText(int64_t bytes) const {
    return absl::StrCat(engine::ToAbsl(engine::HumanBytes(bytes)), saving_);
  }
  // Draws the bar of a stage, a new one if the stage is new.
  void Show(std::string_view stage, std::string_view what, double fraction) {
    if (stage != stage_) {
      stage_ = stage;
      bar_.emplace(std::string(what), fraction);
    }
    bar_->SetWhat(what);
    bar_->Set(fraction);
  }
  void Event(const char* name, const nlohmann::json& fields) const {
    Json object = {{"event", name}};
    for (const auto& [key, value] : fields.items()) object[key] = value;
    output_.Object(object);
  }

  const Output& output_;
  const std::atomic<bool>& interrupted_;
  std::string saving_;  // of memory against full fine-tuning: " (-61%)"
  std::string stage_;
  std::optional<Progress> bar_;
};

void PrintData(const engine::FineTuning& job, const Output& output) {
  const engine::DatasetReport* const evaluation = job.evaluation_data();
  if (output.json()) {
    Json object = {{"event", "data"}, {"train", engine::ToJson(job.training_data())}};
    if (evaluation != nullptr) object["eval"] = engine::ToJson(*evaluation);
    return output.Object(object);
  }
  std::cout << engine::ToText(job.training_data());
  if (evaluation != nullptr) std::cout << "\n" << engine::ToText(*evaluation);
}

// The report without what the run's directory has in full, and where the result or, of a cancelled
// run, the checkpoint is.
Json Summary(const engine::RunReport& report, const engine::FineTuningSpec& spec) {
  Json summary = engine::ToJson(report);
  for (const char* key : {"log", "layers", "data", "options"}) summary.erase(key);
  const bool cancelled = report.ended == engine::RunEnd::kCancelled;
  summary[cancelled ? "checkpoints" : "path"] = cancelled ? spec.checkpoint_directory() : spec.out;
  return summary;
}

// What the new model is for.
std::string NextCommand(const engine::FineTuningSpec& spec) {
  const engine::Task task = spec.training.task;
  if (task == engine::Task::kClassification || task == engine::Task::kRegression) {
    return absl::StrFormat("Test it: whipsnake evaluate --model %s --task %s --data FILE", spec.out,
                           std::string(engine::Name(task)));
  }
  return absl::StrFormat("Serve it: whipsnake serve --model tuned=%s", spec.out);
}

void PrintResult(const engine::RunReport& report, const engine::FineTuningSpec& spec,
                 const Output& output) {
  if (output.json()) return output.Object(Summary(report, spec));
  if (report.log.steps.empty()) {
    std::cout << "Stopped before the first step; nothing is lost.\n";
    return;
  }
  std::cout << engine::Sentence(report) << "\n";
  if (report.ended == engine::RunEnd::kCancelled) {
    std::cout << "Stopped after step " << report.log.steps.size() << ". The checkpoint is in "
              << spec.checkpoint_directory()
              << "; the same command with --resume goes on from there.\n";
    return;
  }
  std::cout << "Wrote " << spec.out << ", with the report training.html. " << NextCommand(spec)
            << "\n";
}

// The bytes that the job may take: the machine's, or the budget if that is less.
int64_t MemoryLimit(const engine::FineTuningSpec& spec) {
  const int64_t machine = engine::DetectResources().memory_bytes;
  return spec.memory_budget > 0 ? std::min(spec.memory_budget, machine) : machine;
}

absl::StatusOr<int> RunJob(const TrainCommandFlags& flags, const engine::FineTuningSpec& spec,
                           const std::atomic<bool>& interrupted, const Output& output) {
  engine::Executor executor(flags.threads);
  engine::Ledger ledger(MemoryLimit(spec));
  TrainingDisplay display(output, interrupted);
  ASSIGN_OR_RETURN(const auto job, engine::FineTuning::Prepare(
                                       spec, {.executor = &executor, .ledger = &ledger}, &display));
  display.Clear();
  if (flags.plan) {
    RETURN_IF_ERROR(PrintPlan(*job, executor, output));
    return 0;
  }
  PrintData(*job, output);
  RETURN_IF_ERROR(job->CheckData());
  if (flags.validate_only) return 0;
  ASSIGN_OR_RETURN(engine::RunReport report, job->Run());
  display.Clear();
  PrintResult(report, spec, output);
  return report.ended == engine::RunEnd::kCancelled ? kInterrupted : 0;
}

absl::StatusOr<int> Train(const TrainCommandFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(engine::FineTuningSpec spec, MakeSpec(flags.settings));
  spec.version = Version();
  if (!flags.validate_only && !flags.plan) RETURN_IF_ERROR(engine::CheckOut(spec));
  std::atomic<bool> interrupted{false};
  const OnInterrupt on_interrupt([&] { interrupted = true; });
  const absl::StatusOr<int> code = RunJob(flags, spec, interrupted, output);
  if (!absl::IsCancelled(code.status())) return code;
  output.Error(code.status());
  return kInterrupted;
}

}  // namespace

void AddTrainCommand(CommandLine& line) {
  auto flags = std::make_shared<TrainCommandFlags>();
  Command command = line.Add(
      "train", "Fine-tunes a model directory with float weights",
      "  whipsnake train --model deploy/models/gpt2-crrelu-demo --task causal-lm \\\n"
      "    --train texts.jsonl --eval held-out.jsonl --out models/gpt2-tuned\n"
      "  whipsnake train --model models/gpt2 --task classification --train train.csv \\\n"
      "    --eval test.csv --epochs 2 --lr 1e-4 --out models/classifier\n"
      "  whipsnake train --model models/gpt2 --task dpo --train pairs.jsonl --validate-only\n"
      "  whipsnake train --config job.json --plan\n"
      "  whipsnake train --config job.json --memory-budget 2GB\n"
      "  whipsnake train --config job.json --resume\n",
      [flags](const Output& output) { return Train(*flags, output); });
  AddTrainFlags(command, flags->settings);
  const Option validate_only = command.AddFlag(
      "--validate-only", flags->validate_only,
      "Prints what is in the data, and what is wrong with them, and trains nothing");
  command
      .AddFlag("--plan", flags->plan,
               "Prints the memory that the run needs, its predicted time, and both with other "
               "settings, and trains nothing")
      .Excludes(validate_only);
  command.AddOption("--threads", flags->threads, "Threads to compute with")
      .IntegerRange(1, 1024)
      .TypeName("N")
      .ShowDefault();
}

}  // namespace whipsnake::server
