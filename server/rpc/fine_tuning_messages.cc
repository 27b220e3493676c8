#include "server/rpc/fine_tuning_messages.h"

#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "server/jobs/fine_tuning_run.h"
#include "server/json_message.h"
#include "server/rpc/messages.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

v1::FineTuningJobState ProtoStateOf(JobState state) {
  static_assert(v1::FINE_TUNING_JOB_STATE_CANCELLED == kJobStateCount);
  // The states are in the same order, after UNSPECIFIED.
  return static_cast<v1::FineTuningJobState>(static_cast<int>(state) + 1);
}

v1::EventLevel ProtoLevelOf(EventLevel level) {
  switch (level) {
    case EventLevel::kInfo:
      return v1::EVENT_LEVEL_INFO;
    case EventLevel::kWarning:
      return v1::EVENT_LEVEL_WARNING;
    case EventLevel::kError:
      return v1::EVENT_LEVEL_ERROR;
  }
  return v1::EVENT_LEVEL_UNSPECIFIED;
}

// Sets a message from the part of an object with that name, if there is one.
void SetFrom(const json& object, const char* key, google::protobuf::Message* message) {
  const auto part = object.find(key);
  if (part != object.end()) JsonToMessage(*part, message);
}

}  // namespace

v1::FineTuningJob ToProto(const Job& job) {
  v1::FineTuningJob proto;
  proto.set_id(job.id);
  proto.set_uid(job.uid);
  proto.set_etag(job.etag());
  proto.mutable_labels()->insert(job.labels.begin(), job.labels.end());
  proto.set_priority(job.priority);
  SetFrom(job.request, "given", proto.mutable_spec());
  SetFrom(job.request, "train", proto.mutable_train());
  if (job.request.contains("eval")) SetFrom(job.request, "eval", proto.mutable_eval());
  if (job.details.contains("settings")) {
    // The names of the model and of the data sets are the client's.
    *proto.mutable_resolved_spec() = proto.spec();
    SetFrom(job.details, "settings", proto.mutable_resolved_spec());
  }
  if (job.details.contains("plan")) SetFrom(job.details, "plan", proto.mutable_plan());
  if (job.state == JobState::kFailed && !job.prepared && job.details.contains("candidates")) {
    for (const json& candidate : job.details.at("candidates")) {
      JsonToMessage(candidate, proto.add_candidates());
    }
  }
  proto.set_state(ProtoStateOf(job.state));
  proto.set_state_reason(job.reason);
  if (job.error) {
    proto.mutable_error()->set_reason(job.error->reason);
    proto.mutable_error()->set_message(job.error->message);
    proto.mutable_error()->set_field(job.error->field);
  }
  proto.set_queue_position(job.position);
  proto.set_waits_for(job.waits_for);
  proto.set_attempt(job.attempt);
  JsonToMessage(job.progress.values, proto.mutable_progress());
  proto.mutable_progress()->set_stage(job.progress.stage);
  proto.mutable_progress()->set_fraction(job.progress.fraction);
  if (job.state == JobState::kSucceeded) JsonToMessage(job.result, proto.mutable_result());
  *proto.mutable_create_time() = ToTimestamp(job.create_time);
  if (job.start_time) *proto.mutable_start_time() = ToTimestamp(*job.start_time);
  if (job.end_time) *proto.mutable_end_time() = ToTimestamp(*job.end_time);
  if (job.next_attempt_time) {
    *proto.mutable_next_attempt_time() = ToTimestamp(*job.next_attempt_time);
  }
  return proto;
}

v1::FineTuningEvent ToProto(const JobEvent& event) {
  v1::FineTuningEvent proto;
  proto.set_id(event.id);
  *proto.mutable_time() = ToTimestamp(event.time);
  proto.set_level(ProtoLevelOf(event.level));
  proto.set_attempt(event.attempt);
  if (event.type == "state") {
    const auto state = ParseJobState(event.values.value("state", ""));
    if (state.ok()) proto.mutable_state_changed()->set_state(ProtoStateOf(*state));
    proto.mutable_state_changed()->set_reason(event.values.value("reason", ""));
  } else if (event.type == "message" || event.type == kCheckpointFailed) {
    proto.set_message(event.values.value("text", ""));
  } else if (event.type == "step") {
    JsonToMessage(event.values, proto.mutable_step());
  } else if (event.type == "evaluation") {
    JsonToMessage(event.values, proto.mutable_evaluation());
  } else if (event.type == "checkpoint") {
    JsonToMessage(event.values, proto.mutable_checkpoint());
  }
  return proto;
}

absl::StatusOr<v1::Checkpoint> ToCheckpoint(const Record& record) {
  const json value = json::parse(record.value, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) {
    return absl::DataLossError(absl::StrCat("checkpoint ", record.key, ": not valid JSON"));
  }
  v1::Checkpoint proto;
  JsonToMessage(value, &proto);
  const std::chrono::milliseconds written(value.value("time_ms", int64_t{0}));
  *proto.mutable_create_time() = ToTimestamp(WallTime(written));
  return proto;
}

}  // namespace whipsnake::server
