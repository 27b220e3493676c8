#include "server/rpc/quantization_messages.h"

#include <nlohmann/json.hpp>

#include "server/json_message.h"
#include "server/rpc/messages.h"

namespace whipsnake::server {
namespace {

v1::QuantizationState StateOf(JobState state) {
  switch (state) {
    case JobState::kValidating:
    case JobState::kQueued:
    case JobState::kPaused:
      return v1::QUANTIZATION_STATE_QUEUED;
    case JobState::kRunning:
    case JobState::kPausing:
    case JobState::kCancelling:
      return v1::QUANTIZATION_STATE_RUNNING;
    case JobState::kSucceeded:
      return v1::QUANTIZATION_STATE_SUCCEEDED;
    case JobState::kFailed:
      return v1::QUANTIZATION_STATE_FAILED;
    case JobState::kCancelled:
      return v1::QUANTIZATION_STATE_CANCELLED;
  }
  return v1::QUANTIZATION_STATE_UNSPECIFIED;
}

}  // namespace

v1::Quantization ToQuantization(const Job& job) {
  v1::Quantization proto;
  proto.set_id(job.id);
  proto.set_path(job.request.value("path", ""));
  proto.set_output_path(job.request.value("output_path", ""));
  proto.set_scheme(job.request.at("resolved").value("scheme", ""));
  proto.set_state(StateOf(job.state));
  proto.set_stage(job.progress.stage);
  proto.set_fraction(job.state == JobState::kSucceeded ? 1 : job.progress.fraction);
  if (job.state == JobState::kFailed) proto.set_error(job.error->message);
  if (job.state == JobState::kCancelled) proto.set_error(job.reason);
  *proto.mutable_create_time() = ToTimestamp(job.create_time);
  if (job.start_time) *proto.mutable_start_time() = ToTimestamp(*job.start_time);
  if (job.end_time) *proto.mutable_end_time() = ToTimestamp(*job.end_time);
  if (job.state == JobState::kSucceeded) JsonToMessage(job.result, proto.mutable_report());
  return proto;
}

}  // namespace whipsnake::server
