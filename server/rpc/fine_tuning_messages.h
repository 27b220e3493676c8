// Converts jobs of the kind "fine-tuning" to messages.
#ifndef WHIPSNAKE_SERVER_RPC_FINE_TUNING_MESSAGES_H_
#define WHIPSNAKE_SERVER_RPC_FINE_TUNING_MESSAGES_H_

#include "absl/status/statusor.h"
#include "server/jobs/job.h"
#include "server/store/store.h"
#include "whipsnake/v1/fine_tuning.pb.h"

namespace whipsnake::server {

v1::FineTuningJob ToProto(const Job& job);
v1::FineTuningEvent ToProto(const JobEvent& event);
// DATA_LOSS for a record that is none of a checkpoint.
absl::StatusOr<v1::Checkpoint> ToCheckpoint(const Record& record);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_FINE_TUNING_MESSAGES_H_
