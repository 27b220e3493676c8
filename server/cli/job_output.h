// Fine-tuning jobs, their events and their plans as the commands print them.
#ifndef WHIPSNAKE_SERVER_CLI_JOB_OUTPUT_H_
#define WHIPSNAKE_SERVER_CLI_JOB_OUTPUT_H_

#include <google/protobuf/repeated_ptr_field.h>

#include <cstdint>
#include <string>
#include <vector>

#include "server/cli/output.h"
#include "whipsnake/v1/fine_tuning.pb.h"

namespace whipsnake::server {

std::string JobStateName(v1::FineTuningJobState state);  // "RUNNING"
std::string JobStateText(v1::FineTuningJobState state);  // "running"
bool HasEnded(const v1::FineTuningJob& job);

// Messages as JSON, with numbers of 64 bits as numbers.
Json JobJson(const v1::FineTuningJob& job);
Json PlanJson(const v1::PlanFineTuningJobResponse& response);
Json CheckpointJson(const v1::Checkpoint& checkpoint);
// {"event": "step", "id", "time", "attempt", ...} with the fields of the event; "event" is "state",
// "step", "evaluation", "checkpoint" or "message".
Json EventJson(const v1::FineTuningEvent& event);

// An event in a line, without its end: "step 12/300  loss 2.3140  4/75 layers  1,200 tokens/s".
std::string EventText(const v1::FineTuningEvent& event);

// `now` is in seconds since 1970, to show ages.
std::string JobsTable(const std::vector<v1::FineTuningJob>& jobs, int64_t now);
// The table of one job, and what it does or did.
std::string JobText(const v1::FineTuningJob& job, int64_t now);
// What a job needs and, if that was too much, settings with which it needs less; "" if it is not
// known yet.
std::string JobPlanText(const v1::FineTuningJob& job);
std::string CheckpointsTable(const google::protobuf::RepeatedPtrField<v1::Checkpoint>& checkpoints);

// What a job needs in memory and time. `spec`: all its settings.
std::string PlanText(const v1::FineTuningPlan& plan, const v1::FineTuningJobSpec& spec);
// Settings with which it needs less.
std::string CandidatesTable(
    const google::protobuf::RepeatedPtrField<v1::FineTuningCandidate>& candidates);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_JOB_OUTPUT_H_
