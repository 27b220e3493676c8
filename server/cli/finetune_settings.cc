#include "server/cli/finetune_settings.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/json.h"
#include "engine/base/status.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/json_message.h"

namespace whipsnake::server {
namespace {

absl::Status CheckNames(const nlohmann::json& settings) {
  for (const auto& [key, expected] :
       {std::pair("model", "the name of a model of the server"),
        std::pair("train", "the id of a data set; 'whipsnake datasets list' shows them")}) {
    if (!settings.contains(key)) return engine::InvalidField(key, "nothing", expected);
  }
  return absl::OkStatus();
}

// Refuses a setting that the message has no field for, or not of the value's type.
absl::Status CheckComplete(const nlohmann::json& settings, const v1::FineTuningJobSpec& spec) {
  const nlohmann::json converted = MessageToJson(spec);
  for (const auto& [key, value] : settings.items()) {
    if (converted.contains(key) || value.empty()) continue;
    return engine::InvalidField(key, engine::Described(value), "a setting of FineTuningJobSpec");
  }
  return absl::OkStatus();
}

}  // namespace

void AddJobSettingsFlags(Command command, JobSettingsFlags& flags) {
  command
      .AddOption("--model", flags.model,
                 "The model that training begins with: one that the server serves, or a directory "
                 "below its --model-root. Its weights must be floats")
      .TypeName("NAME");
  command
      .AddOption("--train", flags.train,
                 "The data set to train with, as 'whipsnake datasets list' shows it")
      .TypeName("DATASET");
  command
      .AddOption("--eval", flags.eval,
                 "A data set that the model is not trained on. It is evaluated with it before, "
                 "during and after training (default: none)")
      .TypeName("DATASET");
  command.AddOption("--task", flags.task, "What to train for (default: what the data set is for)")
      .Choices({"causal-lm", "classification", "regression", "dpo"});
  command
      .AddOption("--config", flags.config,
                 "A JSON object of settings: the names of these options, with _ for -, and their "
                 "values; \"packed\": false for --unpacked, a list \"groups\" of objects "
                 "{\"pattern\", \"lr_factor\", \"weight_decay\"}. Options on the command line take "
                 "precedence")
      .TypeName("FILE");
  AddTrainingFlags(command, flags.training);
}

absl::StatusOr<v1::FineTuningJobSpec> ParseJobSpec(nlohmann::json settings) {
  RETURN_IF_ERROR(CheckNames(settings));
  ASSIGN_OR_RETURN(const engine::FineTuningSpec parsed, FineTuningKind::ParseSpec(settings));
  if (settings.contains("memory_budget")) settings["memory_budget"] = parsed.memory_budget;
  v1::FineTuningJobSpec spec;
  JsonToMessage(settings, &spec);
  RETURN_IF_ERROR(CheckComplete(settings, spec));
  return spec;
}

absl::StatusOr<v1::FineTuningJobSpec> MakeJobSpec(const JobSettingsFlags& flags) {
  ASSIGN_OR_RETURN(nlohmann::json settings, ReadSettings(flags.config));
  SetIfGiven(settings, "model", flags.model);
  SetIfGiven(settings, "task", flags.task);
  SetIfGiven(settings, "train", flags.train);
  SetIfGiven(settings, "eval", flags.eval);
  RETURN_IF_ERROR(SetTraining(flags.training, settings));
  absl::StatusOr<v1::FineTuningJobSpec> spec = ParseJobSpec(std::move(settings));
  // With a file, settings are named as they are there.
  if (!spec.ok() && flags.config.empty()) return WithFieldAsOption(spec.status());
  return spec;
}

}  // namespace whipsnake::server
