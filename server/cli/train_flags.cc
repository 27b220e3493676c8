#include "server/cli/train_flags.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

template <typename Value>
void SetIfGiven(json& settings, const char* key, const std::optional<Value>& value) {
  if (value) settings[key] = *value;
}

// "transformer.h.0.*=0.1,0" is a pattern, a factor of the learning rate and a weight decay.
absl::StatusOr<json> ParseGroupFlag(const std::string& text) {
  const size_t equals = text.rfind('=');
  const size_t comma = text.find(',', equals == std::string::npos ? 0 : equals);
  json group;
  double number = 0;
  if (equals == std::string::npos ||
      !absl::SimpleAtod(text.substr(equals + 1, comma - equals - 1), &number)) {
    return engine::InvalidField("--group", engine::Quoted(text),
                                "PATTERN=FACTOR or PATTERN=FACTOR,DECAY");
  }
  group["pattern"] = text.substr(0, equals);
  group["lr_factor"] = number;
  if (comma == std::string::npos) return group;
  if (!absl::SimpleAtod(text.substr(comma + 1), &number)) {
    return engine::InvalidField("--group", engine::Quoted(text), "PATTERN=FACTOR,DECAY");
  }
  group["weight_decay"] = number;
  return group;
}

absl::Status SetGroups(const TrainFlags& flags, json& settings) {
  if (flags.groups.empty()) return absl::OkStatus();
  settings["groups"] = json::array();
  for (const std::string& text : flags.groups) {
    ASSIGN_OR_RETURN(json group, ParseGroupFlag(text));
    settings["groups"].push_back(std::move(group));
  }
  return absl::OkStatus();
}

void SetNumbers(const TrainFlags& flags, json& settings) {
  SetIfGiven(settings, "epochs", flags.epochs);
  SetIfGiven(settings, "max_steps", flags.max_steps);
  SetIfGiven(settings, "batch", flags.batch);
  SetIfGiven(settings, "micro_batch", flags.micro_batch);
  SetIfGiven(settings, "max_length", flags.max_length);
  SetIfGiven(settings, "lr", flags.lr);
  SetIfGiven(settings, "warmup", flags.warmup);
  SetIfGiven(settings, "max_gradient_norm", flags.max_gradient_norm);
  SetIfGiven(settings, "dropout", flags.dropout);
  SetIfGiven(settings, "label_smoothing", flags.label_smoothing);
  SetIfGiven(settings, "dpo_beta", flags.dpo_beta);
  SetIfGiven(settings, "weight_decay", flags.weight_decay);
  SetIfGiven(settings, "beta1", flags.beta1);
  SetIfGiven(settings, "beta2", flags.beta2);
  SetIfGiven(settings, "adam_epsilon", flags.adam_epsilon);
  SetIfGiven(settings, "momentum", flags.momentum);
  SetIfGiven(settings, "crrelu_epsilon_factor", flags.crrelu_epsilon_factor);
  SetIfGiven(settings, "seed", flags.seed);
  SetIfGiven(settings, "evaluate_every", flags.evaluate_every);
  SetIfGiven(settings, "patience", flags.patience);
  SetIfGiven(settings, "checkpoint_every", flags.checkpoint_every);
  SetIfGiven(settings, "keep_checkpoints", flags.keep_checkpoints);
}

void SetTexts(const TrainFlags& flags, json& settings) {
  SetIfGiven(settings, "model", flags.model);
  SetIfGiven(settings, "task", flags.task);
  SetIfGiven(settings, "train", flags.train);
  SetIfGiven(settings, "eval", flags.eval);
  SetIfGiven(settings, "out", flags.out);
  SetIfGiven(settings, "checkpoints", flags.checkpoints);
  SetIfGiven(settings, "out_type", flags.out_type);
  SetIfGiven(settings, "label_column", flags.label_column);
  SetIfGiven(settings, "schedule", flags.schedule);
  SetIfGiven(settings, "optimizer", flags.optimizer);
  SetIfGiven(settings, "moments", flags.moments);
  SetIfGiven(settings, "precision", flags.precision);
  if (!flags.freeze.empty()) settings["freeze"] = flags.freeze;
  if (flags.unpacked) settings["packed"] = false;
  if (flags.no_header) settings["header"] = false;
  if (flags.resume) settings["resume"] = true;
  if (flags.checkpointing) settings["checkpointing"] = true;
  if (flags.update_in_backward) {
    settings["update_in_backward"] = true;
    if (!flags.max_gradient_norm) settings["max_gradient_norm"] = 0;
  }
}

// "micro_batch: 9 seen" becomes "--micro-batch: 9 seen".
absl::Status WithFieldAsOption(const absl::Status& status) {
  std::string field = engine::FieldOf(status);
  if (field.empty() || !std::string(status.message()).starts_with(field)) return status;
  const std::string rest = std::string(status.message()).substr(field.size());
  std::ranges::replace(field, '_', '-');
  return absl::Status(status.code(), absl::StrCat("--", field, rest));
}

void AddFiles(Command command, TrainFlags& flags) {
  command.AddOption("--model", flags.model, "The model directory that training begins with")
      .TypeName("DIR");
  command.AddOption("--task", flags.task, "What to train for")
      .Choices({"causal-lm", "classification", "regression", "dpo"});
  command
      .AddOption("--train", flags.train,
                 "The training data: JSON lines or CSV. Rows: causal-lm {\"text\"}; classification "
                 "and regression {\"text\", \"label\"}; dpo {\"prompt\", \"chosen\", \"rejected\"}")
      .TypeName("FILE");
  command
      .AddOption("--eval", flags.eval,
                 "Data like those to evaluate the model with while it is trained")
      .TypeName("FILE");
  command
      .AddOption("--out", flags.out,
                 "The directory to write the fine-tuned model to; must not exist or be empty")
      .TypeName("DIR");
  command
      .AddOption("--config", flags.config,
                 "A JSON object of settings: the names of these options, with _ for -, and their "
                 "values. Options on the command line take precedence")
      .TypeName("FILE");
  command
      .AddOption("--max-length", flags.max_length,
                 "Tokens of the longest sequence (default: the model's positions, up to 1024)")
      .TypeName("N");
  command.AddFlag("--unpacked", flags.unpacked,
                  "causal-lm: makes each text a sequence, instead of joining all texts and cutting "
                  "them into windows of --max-length");
  command
      .AddOption("--label-column", flags.label_column,
                 "The field or column of the label (default: \"label\" or the last column)")
      .TypeName("NAME");
  command.AddFlag("--no-header", flags.no_header, "The first row of a CSV file is data");
}

void AddSchedule(Command command, TrainFlags& flags) {
  const std::string heading = "Steps";
  command.AddOption("--epochs", flags.epochs, "Passes over the data, also a fraction (default: 3)")
      .TypeName("E")
      .Heading(heading);
  command.AddOption("--max-steps", flags.max_steps, "Ends after this many steps")
      .TypeName("N")
      .Heading(heading);
  command.AddOption("--batch", flags.batch, "Examples of a step (default: 8)")
      .TypeName("B")
      .Heading(heading);
  command
      .AddOption("--micro-batch", flags.micro_batch,
                 "Examples that go through the model at once: less memory, the same result but for "
                 "rounding (default: the batch)")
      .TypeName("B")
      .Heading(heading);
  command.AddOption("--lr", flags.lr, "The largest learning rate (default: 5e-5)")
      .TypeName("LR")
      .Heading(heading);
  command.AddOption("--schedule", flags.schedule, "How the learning rate falls (default: linear)")
      .Choices({"linear", "cosine", "constant"})
      .Heading(heading);
  command
      .AddOption("--warmup", flags.warmup,
                 "The part of the steps in which it rises, 0 to 1 (default: 0)")
      .TypeName("R")
      .Heading(heading);
  command.AddOption("--seed", flags.seed, "Of shuffling, dropout and new heads (default: 0)")
      .TypeName("S")
      .Heading(heading);
  command
      .AddOption("--evaluate-every", flags.evaluate_every, "Steps (default: the end of each epoch)")
      .TypeName("N")
      .Heading(heading);
  command
      .AddOption("--patience", flags.patience,
                 "Stops after so many evaluations without a lower loss, and keeps the best model "
                 "(default: never stops)")
      .TypeName("N")
      .Heading(heading);
}

void AddOptimizer(Command command, TrainFlags& flags) {
  const std::string heading = "Optimizer";
  command.AddOption("--optimizer", flags.optimizer, "(default: adamw)")
      .Choices({"adamw", "sgd"})
      .Heading(heading);
  command
      .AddOption("--weight-decay", flags.weight_decay,
                 "Of matrices and embeddings; biases and norms have none (default: 0.01)")
      .TypeName("D")
      .Heading(heading);
  command.AddOption("--beta1", flags.beta1, "(default: 0.9)").TypeName("B").Heading(heading);
  command.AddOption("--beta2", flags.beta2, "(default: 0.999)").TypeName("B").Heading(heading);
  command.AddOption("--adam-epsilon", flags.adam_epsilon, "(default: 1e-8)")
      .TypeName("E")
      .Heading(heading);
  command.AddOption("--momentum", flags.momentum, "Of sgd (default: 0.9)")
      .TypeName("M")
      .Heading(heading);
  command
      .AddOption("--max-gradient-norm", flags.max_gradient_norm,
                 "Scales gradients down to this norm; 0: never (default: 1)")
      .TypeName("N")
      .Heading(heading);
  command
      .AddOption("--crrelu-epsilon-factor", flags.crrelu_epsilon_factor,
                 "Factor of the learning rate for CRReLU's epsilon (default: 1)")
      .TypeName("F")
      .Heading(heading);
  command
      .AddOption("--group", flags.groups,
                 "Settings for the tensors whose names match a pattern with *: a factor of the "
                 "learning rate and perhaps a weight decay. Can be repeated; the last match counts")
      .Repeatable()
      .TypeName("PATTERN=FACTOR[,DECAY]")
      .Heading(heading);
  command
      .AddOption("--freeze", flags.freeze,
                 "Leaves the tensors whose names match a pattern with * as they are: "
                 "\"transformer.w*\". Can be repeated")
      .Repeatable()
      .TypeName("PATTERN")
      .Heading(heading);
  command.AddOption("--label-smoothing", flags.label_smoothing, "(default: 0)")
      .TypeName("S")
      .Heading(heading);
  command.AddOption("--dpo-beta", flags.dpo_beta, "(default: 0.1)").TypeName("B").Heading(heading);
  command.AddOption("--dropout", flags.dropout, "All dropout probabilities (default: the model's)")
      .TypeName("P")
      .Heading(heading);
}

void AddMemory(Command command, TrainFlags& flags) {
  const std::string heading = "Memory and speed";
  command
      .AddOption("--precision", flags.precision,
                 "Of matrix products; weights stay fp32 (default: fp32)")
      .Choices({"fp32", "bf16"})
      .Heading(heading);
  command
      .AddFlag("--checkpointing", flags.checkpointing,
               "Computes each block again in the backward pass instead of keeping its "
               "activations: a third more time, the same result")
      .Heading(heading);
  command
      .AddOption("--moments", flags.moments,
                 "AdamW's: keep them in fp32 or in 8bit (default: keep)")
      .Choices({"keep", "8bit"})
      .Heading(heading);
  command
      .AddFlag("--update-in-backward", flags.update_in_backward,
               "Updates each tensor as soon as its gradient is complete: gradients never exist "
               "at once, and cannot be clipped")
      .Heading(heading);
}

void AddCheckpoints(Command command, TrainFlags& flags) {
  const std::string heading = "Checkpoints";
  command
      .AddOption("--checkpoints", flags.checkpoints, "Their directory (default: OUT.checkpoints)")
      .TypeName("DIR")
      .Heading(heading);
  command
      .AddOption("--checkpoint-every", flags.checkpoint_every,
                 "Steps (default: the end of each epoch)")
      .TypeName("N")
      .Heading(heading);
  command
      .AddOption("--keep-checkpoints", flags.keep_checkpoints,
                 "The number of the last ones that stay (default: 2)")
      .TypeName("K")
      .Heading(heading);
  command.AddFlag("--resume", flags.resume, "Goes on after the last checkpoint, bit for bit")
      .Heading(heading);
  command.AddOption("--out-type", flags.out_type, "Of the tensors of the result (default: fp32)")
      .Choices({"fp32", "bf16"})
      .Heading(heading);
}

}  // namespace

void AddTrainFlags(Command command, TrainFlags& flags) {
  AddFiles(command, flags);
  AddSchedule(command, flags);
  AddOptimizer(command, flags);
  AddMemory(command, flags);
  AddCheckpoints(command, flags);
}

absl::StatusOr<engine::FineTuningSpec> MakeSpec(const TrainFlags& flags) {
  json settings = json::object();
  if (!flags.config.empty()) {
    ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(flags.config));
    auto parsed = engine::ParseJsonObject(text);
    if (!parsed.ok()) return engine::WithPath(parsed.status(), flags.config);
    settings = *std::move(parsed);
  }
  SetTexts(flags, settings);
  SetNumbers(flags, settings);
  RETURN_IF_ERROR(SetGroups(flags, settings));
  absl::StatusOr<engine::FineTuningSpec> spec = engine::ParseFineTuningSpec(settings);
  if (!spec.ok()) return WithFieldAsOption(spec.status());
  return spec;
}

}  // namespace whipsnake::server
