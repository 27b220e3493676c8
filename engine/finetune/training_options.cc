#include "engine/finetune/training_options.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/status.h"
#include "engine/finetune/number_range.h"

namespace whipsnake::engine {

Compression DefaultCompression(SchedulerKind scheduler, FreezingRecipe recipe) {
  if (scheduler != SchedulerKind::kSlimFit) return Compression::kNone;
  return recipe == FreezingRecipe::kPublished ? Compression::kPublished : Compression::k8Bit;
}

namespace {

constexpr int64_t kMaxPatterns = 256, kMaxPatternBytes = 1024;

// Each parameter of a model is compared with each pattern.
absl::Status CheckPatterns(const TrainingOptions& options) {
  std::vector<std::pair<const char*, std::string_view>> patterns;
  for (const std::string& pattern : options.freeze) patterns.emplace_back("freeze", pattern);
  for (const ParameterGroup& group : options.optimizer.groups) {
    patterns.emplace_back("groups", group.pattern);
  }
  for (const auto& [field, pattern] : patterns) {
    if (std::ssize(patterns) > kMaxPatterns) {
      return InvalidField(field, absl::StrCat(patterns.size(), " patterns of freeze and groups"),
                          absl::StrCat("at most ", kMaxPatterns));
    }
    if (std::ssize(pattern) > kMaxPatternBytes) {
      return InvalidField(field, absl::StrCat("a pattern of ", pattern.size(), " bytes"),
                          absl::StrCat("at most ", kMaxPatternBytes));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const TrainingOptions& options) {
  if (options.task == Task::kChoice) {
    return InvalidField("task", Quoted(Name(options.task)),
                        "causal-lm, classification, regression or dpo; choice is for evaluation");
  }
  RETURN_IF_ERROR(CheckPatterns(options));
  RETURN_IF_ERROR(Validate(options.optimizer));
  RETURN_IF_ERROR(Validate(options.freezing));
  if (options.freezing.legacy_drift && options.optimizer.moments == MomentKind::kDrop) {
    return InvalidField("legacy_drift", "true",
                        "false with moments drop: frozen tensors have no moments to move by");
  }
  RETURN_IF_ERROR(CheckNumber("lr", options.learning_rate, 0, 1e3));
  if (options.learning_rate == 0) {
    return InvalidField("lr", "0", "a number above 0: with 0 nothing is trained");
  }
  RETURN_IF_ERROR(CheckNumber("warmup", options.warmup, 0, 1));
  RETURN_IF_ERROR(CheckNumber("epochs", options.epochs, 0, 1e6));
  if (options.epochs == 0) return InvalidField("epochs", "0", "a number above 0");
  RETURN_IF_ERROR(CheckNumber("max_steps", static_cast<double>(options.max_steps), 0, 1e12));
  RETURN_IF_ERROR(CheckNumber("batch", static_cast<double>(options.batch_size), 1, 65536));
  if (options.micro_batch < 0 || options.micro_batch > options.batch_size) {
    return InvalidField("micro_batch", absl::StrCat(options.micro_batch),
                        absl::StrCat("a number from 1 to the batch size, ", options.batch_size,
                                     ", or 0 for the whole batch"));
  }
  RETURN_IF_ERROR(CheckNumber("max_gradient_norm", options.max_gradient_norm, 0, 1e9));
  if (options.update_in_backward && options.max_gradient_norm > 0) {
    return InvalidField("max_gradient_norm", absl::StrCat(options.max_gradient_norm),
                        "0 with update_in_backward: tensors are updated before the norm of all "
                        "gradients is known, so they cannot be clipped");
  }
  RETURN_IF_ERROR(CheckNumber("label_smoothing", options.objective.label_smoothing, 0, 0.999999));
  RETURN_IF_ERROR(CheckNumber("dpo_beta", options.objective.dpo_beta, 1e-6, 1e3));
  if (options.dropout) RETURN_IF_ERROR(CheckNumber("dropout", *options.dropout, 0, 0.99));
  RETURN_IF_ERROR(
      CheckNumber("evaluate_every", static_cast<double>(options.evaluate_every), 0, 1e12));
  RETURN_IF_ERROR(CheckNumber("patience", static_cast<double>(options.patience), 0, 1e6));
  return CheckNumber("checkpoint_every", static_cast<double>(options.checkpoint_every), 0, 1e12);
}

nlohmann::json ToJson(const TrainingOptions& options) {
  const OptimizerOptions& optimizer = options.optimizer;
  nlohmann::json groups = nlohmann::json::array();
  for (const ParameterGroup& group : optimizer.groups) {
    nlohmann::json json = {{"pattern", group.pattern}, {"lr_factor", group.learning_rate_factor}};
    if (group.weight_decay) json["weight_decay"] = *group.weight_decay;
    groups.push_back(std::move(json));
  }
  nlohmann::json json = {
      {"task", std::string(Name(options.task))},
      {"label_smoothing", options.objective.label_smoothing},
      {"dpo_beta", options.objective.dpo_beta},
      {"optimizer", std::string(Name(optimizer.kind))},
      {"beta1", optimizer.beta1},
      {"beta2", optimizer.beta2},
      {"adam_epsilon", optimizer.epsilon},
      {"momentum", optimizer.momentum},
      {"weight_decay", optimizer.weight_decay},
      {"moments", std::string(Name(optimizer.moments))},
      {"crrelu_epsilon_factor", optimizer.crrelu_epsilon_factor},
      {"groups", std::move(groups)},
      {"lr", options.learning_rate},
      {"schedule", std::string(Name(options.schedule))},
      {"warmup", options.warmup},
      {"epochs", options.epochs},
      {"max_steps", options.max_steps},
      {"batch", options.batch_size},
      {"micro_batch", options.micro_batch},
      {"max_gradient_norm", options.max_gradient_norm},
      {"update_in_backward", options.update_in_backward},
      {"checkpointing", options.gradient_checkpointing},
      {"precision", options.arithmetic == kernels::DType::kBF16 ? "bf16" : "fp32"},
      {"compression", std::string(Name(options.compression))},
      {"freeze", options.freeze},
      {"seed", options.seed},
      {"evaluate_every", options.evaluate_every},
      {"patience", options.patience}};
  if (options.dropout) json["dropout"] = *options.dropout;
  json.update(ToJson(options.freezing));
  return json;
}

}  // namespace whipsnake::engine
