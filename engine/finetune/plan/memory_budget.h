// The inverse of a plan: settings with which a run fits a number of bytes.
//
// Settings are tried in a fixed order, a ladder, the least expected loss of the result first:
//
//   1. the settings as they are given
//   2. updates in the backward pass, where gradients are not clipped: the same results
//   3. checkpointing: the same results, a third more time
//   4. moments in 8 bits
//   5. activations in 8 bits too: gradients stay almost exact
//   6. SlimFit at the rates 0.5, 0.8, 0.9 and 0.95
//   7. SlimFit at the rates 0.8, 0.9 and 0.95 with dropped moments
//   8. the last of these with activations partly in 4 bits
//
// From 4 on, each is tried without and with checkpointing. A rung keeps what the earlier kinds have
// that costs nothing: updates in the backward pass. What the user has given stays. With a scheduler
// that is given without a rate, the rungs change its rate, which is the lowest in 1 to 5. The
// choice depends on bytes alone, so the same command always makes the same one.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEMORY_BUDGET_H_
#define WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEMORY_BUDGET_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/plan/training_plan.h"
#include "engine/finetune/training_options.h"

namespace whipsnake::engine {

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

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEMORY_BUDGET_H_
