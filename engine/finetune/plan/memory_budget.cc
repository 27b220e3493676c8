#include "engine/finetune/plan/memory_budget.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/finetune/freezing/freezing_option_table.h"

namespace whipsnake::engine {
namespace {

struct Rung {
  bool update_in_backward;
  bool checkpointing;
  MomentKind moments;
  double rate;  // of SlimFit; 0: no scheduler
};

constexpr Rung kLadder[] = {
    {false, false, MomentKind::kKeep, 0},  {true, false, MomentKind::kKeep, 0},
    {true, true, MomentKind::kKeep, 0},    {true, false, MomentKind::k8Bit, 0},
    {true, true, MomentKind::k8Bit, 0},    {true, false, MomentKind::k8Bit, 0.5},
    {true, true, MomentKind::k8Bit, 0.5},  {true, false, MomentKind::k8Bit, 0.8},
    {true, true, MomentKind::k8Bit, 0.8},  {true, false, MomentKind::k8Bit, 0.9},
    {true, true, MomentKind::k8Bit, 0.9},  {true, false, MomentKind::k8Bit, 0.95},
    {true, true, MomentKind::k8Bit, 0.95}, {true, false, MomentKind::kDrop, 0.8},
    {true, true, MomentKind::kDrop, 0.8},  {true, false, MomentKind::kDrop, 0.9},
    {true, true, MomentKind::kDrop, 0.9},  {true, false, MomentKind::kDrop, 0.95},
    {true, true, MomentKind::kDrop, 0.95}};

bool TakesRate(SchedulerKind scheduler) {
  bool takes = false;
  ForEachFreezingOption([&](std::string_view key, const SchedulerSet& takers, auto, auto) {
    takes |= key == "freezing_rate" && takers.Contains(scheduler);
  });
  return takes;
}

absl::Status ApplyRate(double rate, const GivenSettings& given, TrainingOptions& options) {
  if (given.scheduler) {
    if (!given.rate && TakesRate(options.freezing.scheduler)) options.freezing.rate = rate;
    return absl::OkStatus();
  }
  const FreezingRecipe recipe = options.freezing.recipe;
  ASSIGN_OR_RETURN(options.freezing,
                   Resolve({.scheduler = SchedulerKind::kSlimFit, .recipe = recipe, .rate = rate}));
  if (!given.compression) {
    options.compression = DefaultCompression(SchedulerKind::kSlimFit, recipe);
  }
  return absl::OkStatus();
}

absl::StatusOr<TrainingOptions> Apply(const Rung& rung, const GivenSettings& given,
                                      TrainingOptions options) {
  if (!given.checkpointing) options.gradient_checkpointing = rung.checkpointing;
  if (!given.update_in_backward && options.max_gradient_norm == 0) {
    options.update_in_backward = rung.update_in_backward;
  }
  if (rung.rate > 0) RETURN_IF_ERROR(ApplyRate(rung.rate, given, options));
  const bool possible =
      rung.moments != MomentKind::k8Bit || options.optimizer.kind == OptimizerKind::kAdamW;
  const bool useful =
      rung.moments != MomentKind::kDrop || options.freezing.scheduler != SchedulerKind::kFull;
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
                                "), the least that any settings need: ",
                                MemorySettingsText(smallest.options))),
      absl::StatusCode::kResourceExhausted);
}

std::string SchedulerText(const FreezingOptions& options) {
  std::string text(Name(options.scheduler));
  if (TakesRate(options.scheduler)) absl::StrAppend(&text, " ", options.rate);
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

absl::StatusOr<int64_t> ParseMemoryBudget(std::string_view text) {
  constexpr std::string_view kUnits = "kmgt";  // powers of 1024, from 1
  const size_t end = std::min(text.find_first_not_of("0123456789.e+"), text.size());
  std::string unit = absl::AsciiStrToLower(absl::StripAsciiWhitespace(ToAbsl(text.substr(end))));
  double bytes = 0;
  const bool is_number = absl::SimpleAtod(ToAbsl(text.substr(0, end)), &bytes);
  for (const char* suffix : {"ib", "b"}) {
    if (unit.ends_with(suffix)) {
      unit.resize(unit.size() - std::string_view(suffix).size());
      break;
    }
  }
  const size_t power = unit.empty() ? 0 : kUnits.find(unit) + 1;
  const bool is_unit = unit.empty() || (unit.size() == 1 && power > 0);
  bytes *= std::pow(1024, power);
  if (is_number && is_unit && bytes >= 1 && bytes < 1e18) return static_cast<int64_t>(bytes);
  return InvalidField("memory_budget", Quoted(text),
                      "a number of bytes such as 2GB, 1.5GiB, 800MB or 1000000");
}

}  // namespace whipsnake::engine
