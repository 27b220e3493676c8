#include "engine/finetune/plan/memory_budget.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "engine/base/human.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

struct Rung {
  bool update_in_backward;
  bool checkpointing;
  Compression compression;  // at least
  MomentKind moments;
  double rate;  // of SlimFit; 0: no scheduler
};

constexpr double kLowestRate = 0.5;

constexpr Rung kLadder[] = {{false, false, Compression::kNone, MomentKind::kKeep, 0},
                            {true, false, Compression::kNone, MomentKind::kKeep, 0},
                            {true, true, Compression::kNone, MomentKind::kKeep, 0},
                            {true, false, Compression::kNone, MomentKind::k8Bit, 0},
                            {true, true, Compression::kNone, MomentKind::k8Bit, 0},
                            {true, false, Compression::k8Bit, MomentKind::k8Bit, 0},
                            {true, true, Compression::k8Bit, MomentKind::k8Bit, 0},
                            {true, false, Compression::k8Bit, MomentKind::k8Bit, kLowestRate},
                            {true, true, Compression::k8Bit, MomentKind::k8Bit, kLowestRate},
                            {true, false, Compression::k8Bit, MomentKind::k8Bit, 0.8},
                            {true, true, Compression::k8Bit, MomentKind::k8Bit, 0.8},
                            {true, false, Compression::k8Bit, MomentKind::k8Bit, 0.9},
                            {true, true, Compression::k8Bit, MomentKind::k8Bit, 0.9},
                            {true, false, Compression::k8Bit, MomentKind::k8Bit, 0.95},
                            {true, true, Compression::k8Bit, MomentKind::k8Bit, 0.95},
                            {true, false, Compression::k8Bit, MomentKind::kDrop, 0.8},
                            {true, true, Compression::k8Bit, MomentKind::kDrop, 0.8},
                            {true, false, Compression::k8Bit, MomentKind::kDrop, 0.9},
                            {true, true, Compression::k8Bit, MomentKind::kDrop, 0.9},
                            {true, false, Compression::k8Bit, MomentKind::kDrop, 0.95},
                            {true, true, Compression::k8Bit, MomentKind::kDrop, 0.95},
                            {true, false, Compression::k4Bit, MomentKind::kDrop, 0.95},
                            {true, true, Compression::k4Bit, MomentKind::kDrop, 0.95}};

// Freezes as the rung says: with SlimFit, or with the rate of the scheduler that is given.
absl::Status ApplyRate(double rate, const GivenSettings& given, FreezingOptions& options) {
  if (given.scheduler) {
    if (!given.rate && HasBudget(options)) options.rate = std::max(rate, kLowestRate);
    return absl::OkStatus();
  }
  if (rate == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(
      options,
      Resolve({.scheduler = SchedulerKind::kSlimFit, .recipe = options.recipe, .rate = rate}));
  return absl::OkStatus();
}

absl::StatusOr<TrainingOptions> Apply(const Rung& rung, const GivenSettings& given,
                                      TrainingOptions options) {
  if (!given.checkpointing) options.gradient_checkpointing = rung.checkpointing;
  if (!given.update_in_backward && options.max_gradient_norm == 0) {
    options.update_in_backward = rung.update_in_backward;
  }
  FreezingOptions& freezing = options.freezing;
  RETURN_IF_ERROR(ApplyRate(rung.rate, given, freezing));
  if (!given.compression) {  // the enumerators are in the order of loss
    options.compression = std::max({options.compression, rung.compression,
                                    DefaultCompression(freezing.scheduler, freezing.recipe)});
  }
  const bool possible =
      rung.moments != MomentKind::k8Bit || options.optimizer.kind == OptimizerKind::kAdamW;
  const bool useful =
      rung.moments != MomentKind::kDrop || freezing.scheduler != SchedulerKind::kFull;
  if (!given.moments && possible && useful) options.optimizer.moments = rung.moments;
  return options;
}

bool HasSettings(std::span<const Candidate> candidates, const TrainingOptions& options) {
  const nlohmann::json settings = ToJson(options);
  return std::ranges::any_of(candidates, [&](const Candidate& candidate) {
    return ToJson(candidate.options) == settings;
  });
}

}  // namespace

absl::StatusOr<std::vector<Candidate>> PlanCandidates(const PlannedRun& run,
                                                      const GivenSettings& given) {
  std::vector<Candidate> candidates;
  PlannedRun changed = run;
  for (const Rung& rung : kLadder) {
    ASSIGN_OR_RETURN(changed.options, Apply(rung, given, run.options));
    // Options that contradict one another, such as legacy drift without moments, are no candidate.
    if (HasSettings(candidates, changed.options) || !Validate(changed.options).ok()) continue;
    ASSIGN_OR_RETURN(TrainingPlan plan, PlanTraining(changed));
    candidates.push_back({changed.options, std::move(plan)});
  }
  return candidates;
}

absl::StatusOr<const Candidate*> FitToBudget(std::span<const Candidate> candidates,
                                             int64_t budget_bytes) {
  const auto needed = [](const Candidate& candidate) { return candidate.plan.sufficient_bytes(); };
  for (const Candidate& candidate : candidates) {
    if (needed(candidate) <= budget_bytes) return &candidate;
  }
  const Candidate& smallest = *std::ranges::min_element(candidates, {}, needed);
  return WithCode(
      InvalidField("memory_budget", absl::StrCat(budget_bytes, " bytes"),
                   absl::StrCat("at least ", needed(smallest), " (", HumanBytes(needed(smallest)),
                                ") with ", MemorySettingsText(smallest.options),
                                ", the least of the settings that a budget can choose; a smaller "
                                "micro_batch needs less still")),
      absl::StatusCode::kResourceExhausted);
}

std::string SchedulerText(const FreezingOptions& options) {
  std::string text(Name(options.scheduler));
  if (HasBudget(options)) absl::StrAppend(&text, " ", options.rate);
  return text;
}

std::string MemorySettingsText(const TrainingOptions& options) {
  std::vector<std::string> parts = {SchedulerText(options.freezing)};
  if (options.compression != Compression::kNone) {
    parts.push_back(absl::StrCat("compression ", ToAbsl(Name(options.compression))));
  }
  if (options.gradient_checkpointing) parts.push_back("checkpointing");
  parts.push_back(absl::StrCat("moments ", ToAbsl(Name(options.optimizer.moments))));
  if (options.update_in_backward) parts.push_back("updates in the backward pass");
  return absl::StrJoin(parts, ", ");
}

}  // namespace whipsnake::engine
