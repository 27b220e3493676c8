#include "server/cli/training_flags.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "server/cli/input.h"

namespace whipsnake::server {
namespace {

// "transformer.h.0.*=0.1,0" is a pattern, a factor of the learning rate and a weight decay.
absl::StatusOr<nlohmann::json> ParseGroupFlag(const std::string& text) {
  const size_t equals = text.rfind('=');
  const size_t comma = text.find(',', equals == std::string::npos ? 0 : equals);
  nlohmann::json group;
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

absl::Status SetGroups(const TrainingFlags& flags, nlohmann::json& settings) {
  if (flags.groups.empty()) return absl::OkStatus();
  settings["groups"] = nlohmann::json::array();
  for (const std::string& text : flags.groups) {
    ASSIGN_OR_RETURN(nlohmann::json group, ParseGroupFlag(text));
    settings["groups"].push_back(std::move(group));
  }
  return absl::OkStatus();
}

void SetNumbers(const TrainingFlags& flags, nlohmann::json& settings) {
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

void SetTexts(const TrainingFlags& flags, nlohmann::json& settings) {
  SetIfGiven(settings, "out_type", flags.out_type);
  SetIfGiven(settings, "schedule", flags.schedule);
  SetIfGiven(settings, "optimizer", flags.optimizer);
  SetIfGiven(settings, "moments", flags.moments);
  SetIfGiven(settings, "precision", flags.precision);
  SetIfGiven(settings, "compression", flags.compression);
  SetIfGiven(settings, "memory_budget", flags.memory_budget);
  if (!flags.freeze.empty()) settings["freeze"] = flags.freeze;
  if (flags.unpacked) settings["packed"] = false;
  if (flags.checkpointing) settings["checkpointing"] = true;
  if (flags.update_in_backward) settings["update_in_backward"] = true;
}

void AddSequences(Command command, TrainingFlags& flags) {
  command
      .AddOption("--max-length", flags.max_length,
                 "Tokens of the longest sequence (default: the model's positions, up to 1024)")
      .TypeName("N");
  command.AddFlag("--unpacked", flags.unpacked,
                  "causal-lm: makes each text a sequence, instead of joining all texts and cutting "
                  "them into windows of --max-length");
}

void AddSchedule(Command command, TrainingFlags& flags) {
  const std::string heading = "Steps";
  command.AddOption("--epochs", flags.epochs, "Passes over the data, also a fraction (default: 3)")
      .TypeName("E")
      .Heading(heading);
  command
      .AddOption(
          "--max-steps", flags.max_steps,
          "Ends after this many steps, if the epochs are not over before (default: no limit)")
      .TypeName("N")
      .Heading(heading);
  command
      .AddOption("--batch", flags.batch,
                 "Examples of a step, each a row or, with joined texts, a window (default: 8)")
      .TypeName("B")
      .Heading(heading);
  command
      .AddOption("--micro-batch", flags.micro_batch,
                 "Examples that go through the model at once, at most the batch: less memory, the "
                 "same result but for rounding (default: the batch)")
      .TypeName("B")
      .Heading(heading);
  command.AddOption("--lr", flags.lr, "The learning rate at its highest (default: 5e-5)")
      .TypeName("LR")
      .Heading(heading);
  command
      .AddOption("--schedule", flags.schedule,
                 "How the learning rate falls after the warm-up (default: linear)")
      .Choices({"linear", "cosine", "constant"})
      .Heading(heading);
  command
      .AddOption("--warmup", flags.warmup,
                 "The part of the steps in which the learning rate rises, 0 to 1 (default: 0)")
      .TypeName("R")
      .Heading(heading);
  command
      .AddOption("--seed", flags.seed, "The seed of shuffling, dropout and new heads (default: 0)")
      .TypeName("S")
      .Heading(heading);
  command
      .AddOption("--evaluate-every", flags.evaluate_every,
                 "Steps from one evaluation to the next (default: those of an epoch)")
      .TypeName("N")
      .Heading(heading);
  command
      .AddOption("--patience", flags.patience,
                 "Stops after so many evaluations without a lower loss, and keeps the best model "
                 "(default: never stops)")
      .TypeName("N")
      .Heading(heading);
}

void AddOptimizer(Command command, TrainingFlags& flags) {
  const std::string heading = "Optimizer";
  command.AddOption("--optimizer", flags.optimizer, "The rule of updates (default: adamw)")
      .Choices({"adamw", "sgd"})
      .Heading(heading);
  command
      .AddOption(
          "--weight-decay", flags.weight_decay,
          "The weight decay of matrices and embeddings; biases and norms have none (default: "
          "0.01)")
      .TypeName("D")
      .Heading(heading);
  command.AddOption("--beta1", flags.beta1, "AdamW: decay of the mean of gradients (default: 0.9)")
      .TypeName("B")
      .Heading(heading);
  command
      .AddOption("--beta2", flags.beta2,
                 "AdamW: decay of the mean of their squares (default: 0.999)")
      .TypeName("B")
      .Heading(heading);
  command
      .AddOption("--adam-epsilon", flags.adam_epsilon,
                 "AdamW: added to the divisor (default: 1e-8)")
      .TypeName("E")
      .Heading(heading);
  command.AddOption("--momentum", flags.momentum, "SGD: the momentum (default: 0.9)")
      .TypeName("M")
      .Heading(heading);
  command
      .AddOption(
          "--max-gradient-norm", flags.max_gradient_norm,
          "Scales the gradients of a step down to this norm; 0: never (default: 1, or 0 with "
          "--update-in-backward)")
      .TypeName("N")
      .Heading(heading);
  command
      .AddOption("--crrelu-epsilon-factor", flags.crrelu_epsilon_factor,
                 "A factor of the learning rate of CRReLU's epsilon (default: 1)")
      .TypeName("F")
      .Heading(heading);
  command
      .AddOption("--group", flags.groups,
                 "Settings for the tensors whose names match a pattern with *: a factor of the "
                 "learning rate and perhaps a weight decay. 'transformer.h.0.*=0' does not train "
                 "the first block. Can be repeated; the last match counts")
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
  command
      .AddOption("--label-smoothing", flags.label_smoothing,
                 "causal-lm and classification: the part of the probability that all classes share "
                 "(default: 0)")
      .TypeName("S")
      .Heading(heading);
  command.AddOption("--dpo-beta", flags.dpo_beta, "dpo: the factor of rewards (default: 0.1)")
      .TypeName("B")
      .Heading(heading);
  command
      .AddOption("--dropout", flags.dropout,
                 "The probability of every dropout (default: those of the model's config)")
      .TypeName("P")
      .Heading(heading);
}

void AddMemory(Command command, TrainingFlags& flags) {
  const std::string heading = "Memory and speed";
  command
      .AddOption("--precision", flags.precision,
                 "The type in which matrices are multiplied; weights stay fp32 (default: fp32)")
      .Choices({"fp32", "bf16"})
      .Heading(heading);
  command
      .AddFlag("--checkpointing", flags.checkpointing,
               "Computes each block again in the backward pass instead of keeping its "
               "activations: a third more time, the same result")
      .Heading(heading);
  command
      .AddOption(
          "--moments", flags.moments,
          "How the optimizer's moments are kept: in fp32 (keep), AdamW's in 8 bits (8bit), or "
          "in fp32 until the tensor is frozen again (drop) (default: keep)")
      .Choices({"keep", "8bit", "drop"})
      .Heading(heading);
  command
      .AddOption("--compression", flags.compression,
                 "How activations wait for the backward pass: as they are (none); in 8 "
                 "bits, which leaves gradients almost exact; partly in 4 bits; or in the fixed "
                 "point of SlimFit's authors. Losses stay exact (default: none; slimfit: 8bit, or "
                 "that of its recipe)")
      .Choices({"none", "8bit", "4bit", "published"})
      .Heading(heading);
  command
      .AddFlag("--update-in-backward", flags.update_in_backward,
               "Updates each tensor as soon as its gradient is complete: gradients never exist "
               "at once, and cannot be clipped")
      .Heading(heading);
  command
      .AddOption("--memory-budget", flags.memory_budget,
                 "The memory that the run may take: 2GB, 1.5GiB, 800MB. Of --update-in-backward, "
                 "--checkpointing, --moments, --compression, --scheduler and --freezing-rate, "
                 "those that are not given are chosen so that the run fits, with the least "
                 "expected loss of quality (default: no budget)")
      .TypeName("SIZE")
      .Heading(heading);
}

void AddCheckpoints(Command command, TrainingFlags& flags) {
  const std::string heading = "Checkpoints";
  command
      .AddOption("--checkpoint-every", flags.checkpoint_every,
                 "Steps from one checkpoint to the next (default: those of an epoch)")
      .TypeName("N")
      .Heading(heading);
  command
      .AddOption("--keep-checkpoints", flags.keep_checkpoints,
                 "How many of the last checkpoints stay (default: 2)")
      .TypeName("K")
      .Heading(heading);
  command
      .AddOption("--out-type", flags.out_type,
                 "The type of the weights of the result (default: fp32)")
      .Choices({"fp32", "bf16"})
      .Heading(heading);
}

}  // namespace

void AddTrainingFlags(Command command, TrainingFlags& flags) {
  AddSequences(command, flags);
  AddSchedule(command, flags);
  AddOptimizer(command, flags);
  AddFreezingFlags(command, flags.freezing);
  AddMemory(command, flags);
  AddCheckpoints(command, flags);
}

absl::Status SetTraining(const TrainingFlags& flags, nlohmann::json& settings) {
  SetTexts(flags, settings);
  SetNumbers(flags, settings);
  SetFreezing(flags.freezing, settings);
  return SetGroups(flags, settings);
}

absl::StatusOr<nlohmann::json> ReadSettings(const std::string& file) {
  if (file.empty()) return nlohmann::json::object();
  ASSIGN_OR_RETURN(const std::string text, ReadInput(file));
  auto parsed = engine::ParseJsonObject(text);
  if (!parsed.ok()) return engine::WithPath(parsed.status(), file);
  return parsed;
}

absl::Status WithFieldAsOption(const absl::Status& status) {
  std::string field = engine::FieldOf(status);
  const std::string message(status.message());
  if (field.empty() || field.starts_with("groups") || !message.starts_with(field)) return status;
  const std::string rest = message.substr(field.size());
  std::ranges::replace(field, '_', '-');
  return absl::Status(status.code(), absl::StrCat("--", field, rest));
}

}  // namespace whipsnake::server
