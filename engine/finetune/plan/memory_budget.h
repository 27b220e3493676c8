// The inverse of a plan: settings with which a run fits a number of bytes.
//
// Settings are tried in a fixed order, a ladder, the least expected loss of the result first:
//
//   1. the settings as they are given
//   2. updates in the backward pass, where gradients are not clipped: the same results
//   3. checkpointing: the same results, a third more time
//   4. moments in 8 bits, without and with checkpointing
//   5. SlimFit at the rates 0.5, 0.8, 0.9 and 0.95, each without and with checkpointing, with
//      moments in 8 bits
//   6. SlimFit at the rates 0.8, 0.9 and 0.95 with dropped moments
//
// A rung keeps what the earlier kinds have that costs nothing: updates in the backward pass. What
// the user has given stays. With a scheduler that is given, rungs 5 and 6 change its rate. The
// choice depends on bytes alone, so the same command always makes the same one.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEMORY_BUDGET_H_
#define WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEMORY_BUDGET_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/plan/training_plan.h"
#include "engine/finetune/training_options.h"

namespace whipsnake::engine {

// Which of the settings that a ladder changes are given, and so stay.
struct GivenSettings {
  bool scheduler = false;
  bool rate = false;
  bool compression = false;
  bool checkpointing = false;
  bool moments = false;
  bool update_in_backward = false;
};

struct Candidate {
  TrainingOptions options;
  TrainingPlan plan;
};

// Plans the run on each rung of the ladder; rungs that change nothing are left out. The errors of
// PlanTraining.
absl::StatusOr<std::vector<Candidate>> PlanCandidates(const PlannedRun& run,
                                                      const GivenSettings& given);

// Returns the first candidate for which the budget is sufficient. There must be candidates. If
// there is none, returns RESOURCE_EXHAUSTED, which names the smallest budget that would do, and
// with which settings.
absl::StatusOr<const Candidate*> FitToBudget(std::span<const Candidate> candidates,
                                             int64_t budget_bytes);

// The settings of a ladder in words: "slimfit 0.9, checkpointing, moments 8bit".
std::string MemorySettingsText(const TrainingOptions& options);
// "slimfit 0.9", "full".
std::string SchedulerText(const FreezingOptions& options);

// Reads a number of bytes with or without a unit: "2GB", "1.5GiB", "800 mb", "1000000". A unit with
// or without an i is a power of 1024. Returns INVALID_ARGUMENT, naming memory_budget.
absl::StatusOr<int64_t> ParseMemoryBudget(std::string_view text);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEMORY_BUDGET_H_
