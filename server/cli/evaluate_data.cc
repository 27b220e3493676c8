#include "server/cli/evaluate_data.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/finetune/data/dataset.h"
#include "engine/finetune/task_config.h"
#include "engine/finetune/task_evaluation.h"
#include "engine/models/config.h"
#include "server/cli/progress.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<engine::DatasetOptions> MakeDatasetOptions(const TaskFlags& flags,
                                                          const EvaluatedModel& evaluated) {
  const engine::ModelInfo& info = evaluated.model->info();
  engine::DatasetOptions options;
  ASSIGN_OR_RETURN(options.task, engine::ParseTask(flags.task));
  RETURN_IF_ERROR(engine::CheckCanDo(options.task, info));
  if (info.max_positions > 0) options.max_length = std::min(options.max_length, info.max_positions);
  options.max_length = flags.max_length.value_or(options.max_length);
  options.header = !flags.no_header;
  options.label_column = flags.label_column;
  ASSIGN_OR_RETURN(const std::string text,
                   engine::ReadTextFile(evaluated.directory + "/config.json"));
  ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ParseModelConfig(text));
  options.vocabulary = config.vocab_size;
  if (!config.eos_token_ids.empty()) options.end_of_text = config.eos_token_ids.front();
  if (options.task == engine::Task::kClassification) {
    ASSIGN_OR_RETURN(options.labels, engine::HeadLabels(text));
  }
  return options;
}

absl::StatusOr<std::unique_ptr<engine::Dataset>> OpenDataset(const TaskFlags& flags,
                                                             const EvaluatedModel& evaluated) {
  ASSIGN_OR_RETURN(engine::DatasetOptions options, MakeDatasetOptions(flags, evaluated));
  Progress progress("Reading");
  return engine::Dataset::Open(flags.data, std::move(options), evaluated.tokenizer,
                               evaluated.environment.ledger, ShowOn(progress));
}

absl::StatusOr<engine::TaskResult> RunTask(const TaskFlags& flags, const EvaluatedModel& evaluated,
                                           const engine::Dataset& dataset) {
  engine::TaskEvaluationOptions options{.tokenizer_size = evaluated.tokenizer->size(),
                                        .batch = flags.batch,
                                        .dpo_beta = flags.dpo_beta};
  std::unique_ptr<engine::Model> reference;
  if (!flags.reference.empty()) {
    ASSIGN_OR_RETURN(reference,
                     engine::LoadModel(flags.reference, evaluated.options, evaluated.environment));
    options.reference = reference.get();
  }
  Progress progress("Evaluating");
  return engine::EvaluateTask(*evaluated.model, *evaluated.environment.executor, dataset, options,
                              ShowOn(progress));
}

Json LabelsJson(const engine::Confusion& confusion, const std::vector<std::string>& names) {
  Json labels = Json::array();
  for (size_t i = 0; i < names.size(); ++i) {
    const engine::LabelCounts& label = confusion.labels()[i];
    labels.push_back({{"label", names[i]},
                      {"rows", label.rows},
                      {"predicted", label.predicted},
                      {"correct", label.correct},
                      {"precision", label.Precision()},
                      {"recall", label.Recall()},
                      {"f1", label.F1()}});
  }
  return labels;
}

Json ConfusionJson(const engine::Confusion& confusion, const std::vector<std::string>& names) {
  Json entries = Json::array();
  for (const auto& [entry, rows] : confusion.entries()) {
    entries.push_back(
        {{"label", names[entry.first]}, {"predicted", names[entry.second]}, {"rows", rows}});
  }
  return entries;
}

Json PairJson(const engine::Preferences::Pair& pair) {
  return {{"chosen", pair.chosen},
          {"rejected", pair.rejected},
          {"margin", pair.chosen - pair.rejected}};
}

Json ToJson(const engine::TaskResult& result, const engine::Dataset& dataset) {
  Json json = {{"task", engine::Name(dataset.options().task)},
               {"examples", result.examples},
               {"tokens", result.tokens}};
  if (result.accuracy) json["accuracy"] = *result.accuracy;
  if (result.loss) json["loss"] = *result.loss;
  if (result.confusion) {
    const std::vector<std::string>& names = dataset.labels().names();
    json["macro_f1"] = result.confusion->MacroF1();
    json["labels"] = LabelsJson(*result.confusion, names);
    json["confusion"] = ConfusionJson(*result.confusion, names);
  }
  if (result.errors) {
    const std::optional<double> correlation = result.errors->Correlation();
    json["mean_squared_error"] = result.errors->MeanSquaredError();
    json["mean_absolute_error"] = result.errors->MeanAbsoluteError();
    json["correlation"] = correlation ? Json(*correlation) : Json();
  }
  if (result.preferences) {
    json["log_probabilities"] = PairJson(result.preferences->log_probabilities);
    if (result.preferences->rewards) json["rewards"] = PairJson(*result.preferences->rewards);
  }
  return json;
}

std::string LabelsTable(const engine::Confusion& confusion, const std::vector<std::string>& names) {
  constexpr size_t kShown = 20;
  std::vector<std::vector<std::string>> rows = {{"LABEL", "ROWS", "PRECISION", "RECALL", "F1"}};
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    const engine::LabelCounts& label = confusion.labels()[i];
    rows.push_back({engine::Quoted(names[i]), std::to_string(label.rows),
                    absl::StrFormat("%.4f", label.Precision()),
                    absl::StrFormat("%.4f", label.Recall()), absl::StrFormat("%.4f", label.F1())});
  }
  std::string table = Table(rows);
  if (names.size() > kShown) {
    absl::StrAppend(&table, "and ", names.size() - kShown, " more labels; --json has all\n");
  }
  return table;
}

std::string PreferencesTable(const engine::Preferences& preferences) {
  std::vector<std::vector<std::string>> rows = {{"MEAN OF PAIRS", "CHOSEN", "REJECTED", "MARGIN"}};
  const auto add = [&](const char* name, const engine::Preferences::Pair& pair) {
    rows.push_back({name, absl::StrFormat("%.4f", pair.chosen),
                    absl::StrFormat("%.4f", pair.rejected),
                    absl::StrFormat("%.4f", pair.chosen - pair.rejected)});
  };
  add("log-probability", preferences.log_probabilities);
  if (preferences.rewards) add("reward", *preferences.rewards);
  return Table(rows);
}

std::string ErrorsLine(const engine::RegressionErrors& errors) {
  const std::optional<double> correlation = errors.Correlation();
  return absl::StrFormat("mean squared error %.5g  mean absolute error %.5g  %s",
                         errors.MeanSquaredError(), errors.MeanAbsoluteError(),
                         correlation ? absl::StrFormat("correlation %.4f", *correlation)
                                     : "no correlation with a constant");
}

std::string ScoresLine(const engine::TaskResult& result) {
  if (result.errors) return ErrorsLine(*result.errors);
  std::vector<std::string> scores;
  if (result.accuracy) scores.push_back(absl::StrFormat("accuracy %.4f", *result.accuracy));
  if (result.confusion) {
    scores.push_back(absl::StrFormat("macro-F1 %.4f", result.confusion->MacroF1()));
  }
  if (result.loss) scores.push_back(absl::StrFormat("loss %.5f", *result.loss));
  return absl::StrJoin(scores, "  ");
}

std::string ToText(const engine::TaskResult& result, const engine::Dataset& dataset) {
  std::string text = ScoresLine(result) + "\n";
  if (result.confusion) text += LabelsTable(*result.confusion, dataset.labels().names());
  if (result.preferences) text += PreferencesTable(*result.preferences);
  return text + absl::StrFormat("%d examples, %d tokens", result.examples, result.tokens);
}

}  // namespace

absl::StatusOr<Findings> EvaluateData(const TaskFlags& flags, const EvaluatedModel& evaluated) {
  ASSIGN_OR_RETURN(const std::unique_ptr<engine::Dataset> dataset, OpenDataset(flags, evaluated));
  ASSIGN_OR_RETURN(const engine::TaskResult result, RunTask(flags, evaluated, *dataset));
  return Findings{ToJson(result, *dataset), ToText(result, *dataset)};
}

void AddTaskFlags(Command command, Option data, TaskFlags& flags) {
  const auto with_data = [&](Option option) { return option.Needs(data).Heading("With --data"); };
  const Option task =
      with_data(command.AddOption("--task", flags.task, "What to do with the rows of --data")
                    .Choices({"classification", "regression", "choice", "dpo"}));
  data.Needs(task);
  const Option reference = with_data(
      command
          .AddOption("--reference", flags.reference,
                     "With --task dpo: the model that rewards are relative to, with the same "
                     "tokenizer (default: none, and log-probabilities are compared)")
          .TypeName("DIR"));
  with_data(command.AddOption("--dpo-beta", flags.dpo_beta, "The factor of rewards")
                .Needs(reference)
                .Positive()
                .TypeName("BETA")
                .ShowDefault());
  with_data(command
                .AddOption("--max-length", flags.max_length,
                           "Tokens of a sequence, at most; longer ones are cut (default: 1024 or "
                           "the model's maximum)")
                .TypeName("N"));
  with_data(command.AddOption("--batch", flags.batch, "Rows to run at once")
                .IntegerRange(1, 65536)
                .TypeName("N")
                .ShowDefault());
  with_data(command
                .AddOption("--label-column", flags.label_column,
                           "The field or CSV column of the label (default: label or, in CSV, the "
                           "last)")
                .TypeName("NAME"));
  with_data(command.AddFlag("--no-header", flags.no_header, "The first row of a CSV file is data"));
}

}  // namespace whipsnake::server
