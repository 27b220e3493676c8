#include "server/cli/job_follower.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "server/cli/job_output.h"
#include "server/cli/unary_call.h"

namespace whipsnake::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstReconnect{250}, kLongestReconnect{5000};
// For the answer to one question of a follower; a stream has no limit.
constexpr std::chrono::seconds kAnswerTime{10};

// Whether the server did not answer, or will answer later. It sends details with every error of its
// own, so that one without them comes from a broken connection.
bool IsTemporary(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return true;
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return status.error_details().empty();
    default:
      return false;
  }
}

milliseconds Since(steady_clock::time_point time) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - time);
}

}  // namespace

absl::StatusOr<v1::FineTuningJob> GetJob(const ClientFlags& client, const std::string& id) {
  v1::GetFineTuningJobRequest request;
  request.set_id(id);
  ASSIGN_OR_RETURN(auto response,
                   UnaryCall<v1::FineTuningService>(
                       client, &v1::FineTuningService::StubInterface::GetFineTuningJob, request));
  return std::move(*response.mutable_job());
}

JobFollower::JobFollower(const ClientFlags& client, std::string id, int64_t after,
                         Interruption* interruption)
    : client_(client),
      id_(std::move(id)),
      interruption_(*interruption),
      stub_(v1::FineTuningService::NewStub(Connect(client))),
      last_event_id_(after) {}

absl::StatusOr<v1::FineTuningJob> JobFollower::Follow(JobListener& listener,
                                                      milliseconds patience) {
  milliseconds pause = kFirstReconnect;
  std::optional<steady_clock::time_point> cut;
  while (true) {
    const grpc::Status status = Read(listener);
    if (interruption_.raised()) return absl::CancelledError("interrupted");
    if (status.ok()) return job_;
    if (!reached_ || !IsTemporary(status)) return ClientError(status, client_);
    if (progressed_ || !cut) {
      pause = kFirstReconnect;
      cut = steady_clock::now();
    }
    if (Since(*cut) >= patience) {
      return engine::WithContext(
          ClientError(status, client_),
          absl::StrCat("no connection for ",
                       engine::HumanDuration(static_cast<double>(patience.count()) / 1000)));
    }
    listener.OnCut(Since(*cut));
    if (!interruption_.Sleep(std::min(pause, patience))) return absl::CancelledError("interrupted");
    pause = std::min(2 * pause, kLongestReconnect);
  }
}

grpc::Status JobFollower::ReadJob(JobListener& listener) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kAnswerTime);
  const Interruption::Cancels cancels(interruption_, context);
  v1::GetFineTuningJobRequest request;
  request.set_id(id_);
  v1::GetFineTuningJobResponse response;
  grpc::Status status = stub_->GetFineTuningJob(&context, request, &response);
  if (!status.ok()) return status;
  reached_ = true;
  job_ = std::move(*response.mutable_job());
  listener.OnJob(job_);
  return status;
}

grpc::Status JobFollower::Read(JobListener& listener) {
  progressed_ = false;
  if (grpc::Status status = ReadJob(listener); !status.ok()) return status;
  grpc::ClientContext context;
  const Interruption::Cancels cancels(interruption_, context);
  v1::WatchFineTuningJobRequest request;
  request.set_id(id_);
  request.set_after_event_id(last_event_id_);
  const auto begin = steady_clock::now();
  const auto reader = stub_->WatchFineTuningJob(&context, request);
  v1::WatchFineTuningJobResponse response;
  while (reader->Read(&response)) {
    for (const v1::FineTuningEvent& event : response.events()) {
      listener.OnEvent(event);
      last_event_id_ = event.id();
      progressed_ = true;
    }
  }
  if (Since(begin) >= kLongestReconnect) progressed_ = true;
  if (grpc::Status status = reader->Finish(); !status.ok()) return status;
  if (grpc::Status status = ReadJob(listener); !status.ok()) return status;
  if (HasEnded(job_)) return grpc::Status::OK;
  return {grpc::StatusCode::UNAVAILABLE, "the job had failed and was resumed"};
}

}  // namespace whipsnake::server
