// whipsnake train --plan: what a run would need, and what it would need with other settings.
#ifndef WHIPSNAKE_SERVER_CLI_TRAIN_PLAN_H_
#define WHIPSNAKE_SERVER_CLI_TRAIN_PLAN_H_

#include <cstdint>

#include "absl/status/status.h"
#include "engine/base/executor.h"
#include "engine/finetune/fine_tuning.h"
#include "server/cli/output.h"

namespace whipsnake::server {

// Plans the job with its settings or, if it has a memory budget, with those that fit it, and prints
// the plan and the candidates of plan/memory_budget.h with their predicted times, measured on the
// executor. `limit` is the number of bytes that there are, in which a candidate fits or not.
// Returns the errors of FineTuning::DescribeRun() and, after it has printed the candidates, of
// FitToBudget if none fits.
absl::Status PrintPlan(engine::FineTuning& job, const engine::FineTuningSpec& spec, int64_t limit,
                       engine::Executor& executor, const Output& output);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_TRAIN_PLAN_H_
