// whipsnake train --plan: what a run would need, and what it would need with other settings.
#ifndef WHIPSNAKE_SERVER_CLI_TRAIN_PLAN_H_
#define WHIPSNAKE_SERVER_CLI_TRAIN_PLAN_H_

#include "absl/status/status.h"
#include "engine/base/executor.h"
#include "engine/finetune/fine_tuning.h"
#include "server/cli/output.h"

namespace whipsnake::server {

// Prints the plan of the settings that the job takes, and its candidates with their predicted
// times, measured on the executor. Returns the errors of FineTuning::PlanSettings() and, after it
// has printed the candidates, its `fits`.
absl::Status PrintPlan(engine::FineTuning& job, engine::Executor& executor, const Output& output);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_TRAIN_PLAN_H_
