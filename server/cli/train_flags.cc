#include "server/cli/train_flags.h"

#include <nlohmann/json.hpp>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

void SetFiles(const TrainFlags& flags, nlohmann::json& settings) {
  SetIfGiven(settings, "model", flags.model);
  SetIfGiven(settings, "task", flags.task);
  SetIfGiven(settings, "train", flags.train);
  SetIfGiven(settings, "eval", flags.eval);
  SetIfGiven(settings, "out", flags.out);
  SetIfGiven(settings, "checkpoints", flags.checkpoints);
  SetIfGiven(settings, "label_column", flags.label_column);
  if (flags.no_header) settings["header"] = false;
  if (flags.resume) settings["resume"] = true;
}

void AddFiles(Command command, TrainFlags& flags) {
  command.AddOption("--model", flags.model, "The model directory that training begins with")
      .ModelDirectory()
      .TypeName("DIR");
  command.AddOption("--task", flags.task, "What to train for (default: causal-lm, the next token)")
      .Choices({"causal-lm", "classification", "regression", "dpo"});
  command
      .AddOption("--train", flags.train,
                 "The training data: JSON lines or, with a name that ends in .csv, CSV. Rows: "
                 "causal-lm {\"text\"}; classification and regression {\"text\", \"label\"}; dpo "
                 "{\"prompt\", \"chosen\", \"rejected\"}")
      .TypeName("FILE");
  command
      .AddOption(
          "--eval", flags.eval,
          "Rows like those of --train that the model is not trained on. It is evaluated with "
          "them before, during and after training (default: none)")
      .TypeName("FILE");
  command
      .AddOption("--out", flags.out,
                 "The directory to write the fine-tuned model to. It must be new or empty; the "
                 "directory above must exist")
      .TypeName("DIR");
  command
      .AddOption("--config", flags.config,
                 "A JSON object of settings: the names of these options, with _ for -, and their "
                 "values; \"packed\": false for --unpacked, \"header\": false for --no-header, a "
                 "list \"groups\" of objects {\"pattern\", \"lr_factor\", \"weight_decay\"}. The "
                 "\"options\" of a training.json can be used. Options on the command line take "
                 "precedence")
      .TypeName("FILE");
  command
      .AddOption("--label-column", flags.label_column,
                 "The field or column of the label (default: \"label\" or the last column)")
      .TypeName("NAME");
  command.AddFlag("--no-header", flags.no_header, "The first row of a CSV file is data");
}

void AddCheckpointFiles(Command command, TrainFlags& flags) {
  const std::string heading = "Checkpoints";
  command
      .AddOption("--checkpoints", flags.checkpoints,
                 "The directory of checkpoints (default: OUT.checkpoints)")
      .TypeName("DIR")
      .Heading(heading);
  command
      .AddFlag("--resume", flags.resume,
               "Goes on after the last checkpoint of the same command, bit for bit")
      .Heading(heading);
}

}  // namespace

void AddTrainFlags(Command command, TrainFlags& flags) {
  AddFiles(command, flags);
  AddTrainingFlags(command, flags.training);
  AddCheckpointFiles(command, flags);
}

absl::StatusOr<engine::FineTuningSpec> MakeSpec(const TrainFlags& flags) {
  ASSIGN_OR_RETURN(nlohmann::json settings, ReadSettings(flags.config));
  SetFiles(flags, settings);
  RETURN_IF_ERROR(SetTraining(flags.training, settings));
  absl::StatusOr<engine::FineTuningSpec> spec = engine::ParseFineTuningSpec(settings);
  // With a file, settings are named as they are there.
  if (!spec.ok() && flags.config.empty()) return WithFieldAsOption(spec.status());
  return spec;
}

}  // namespace whipsnake::server
