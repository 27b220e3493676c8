// Long work of the server: fine-tuning and quantization jobs.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace whipsnake::server {

// See FineTuningJobState in proto/whipsnake/v1/fine_tuning.proto. The last three are final.
enum class JobState {
  kValidating,
  kQueued,
  kRunning,
  kPausing,
  kPaused,
  kCancelling,
  kSucceeded,
  kFailed,
  kCancelled
};
inline constexpr int kJobStateCount = 9;
// "validating", "queued", "running", ...
std::string_view Name(JobState state);
absl::StatusOr<JobState> ParseJobState(std::string_view name);
inline bool HasEnded(JobState state) { return state >= JobState::kSucceeded; }
// Whether a thread works on a job in this state.
bool IsRunning(JobState state);

// What a client sees of an error.
struct JobError {
  std::string reason;   // "PLAN_EXCEEDS_MEMORY"
  std::string message;  // without paths of the server
  std::string field;    // of the request, or ""
};
// The reason, the client's message and the field of a status.
JobError ToJobError(const absl::Status& status);

struct JobProgress {
  std::string stage;
  double fraction = 0;                               // of the stage
  nlohmann::json values = nlohmann::json::object();  // by the kind
};

// A job at one moment.
struct Job {
  std::string kind;      // "fine-tuning"
  std::string id;        // chosen by the client, unique in the kind
  std::string uid;       // never used again
  int64_t number = 0;    // in the order of creation
  int64_t revision = 0;  // of the record
  int64_t changes = 0;   // of the state
  std::map<std::string, std::string> labels = {};
  int32_t priority = 0;  // higher ones run first

  nlohmann::json request = {};                        // by the kind: what to do
  nlohmann::json details = nlohmann::json::object();  // by the kind: what the preparation found
  nlohmann::json result = nlohmann::json::object();   // by the kind, once it has succeeded
  bool prepared = false;                              // whether it has been validated
  int64_t bytes = 0;                                  // with which it is admitted

  JobState state = JobState::kValidating;
  std::string reason = {};             // why it is in this state, or ""
  std::optional<JobError> error = {};  // of the last attempt
  int32_t attempt = 1;
  int32_t failures = 0;  // attempts in a row that ended without a new checkpoint
  JobProgress progress = {};
  WallTime create_time = {};
  std::optional<WallTime> start_time = {}, end_time = {};
  std::optional<WallTime> next_attempt_time = {};  // with kQueued, after a failure

  std::string etag() const { return std::to_string(changes); }
  // A job that failed after its validation can be tried again.
  bool can_resume() const { return state == JobState::kFailed && prepared; }

  // Not durable, with kQueued.
  int32_t position = 0;        // from 1
  std::string waits_for = {};  // "2 jobs before it"
};

// The key of a job in the store.
std::string JobKey(std::string_view kind, std::string_view id);

// A job as the value of its record, and the inverse. ParseJob returns DATA_LOSS, naming the key,
// for another value.
std::string JobValue(const Job& job);
absl::StatusOr<Job> ParseJob(const Record& record);

enum class EventLevel { kInfo, kWarning, kError };
std::string_view Name(EventLevel level);  // "info", "warning", "error"

// Something that happened to a job. The types of the queue are "state" {state, reason} and
// "message" {text}; a kind has more of its own.
struct JobEvent {
  int64_t id = 0;  // 0 until it is durable
  WallTime time = {};
  EventLevel level = EventLevel::kInfo;
  int32_t attempt = 1;
  std::string type;
  nlohmann::json values = nlohmann::json::object();
};
std::string EventValue(const JobEvent& event);
// DATA_LOSS for a value that is not of EventValue.
absl::StatusOr<JobEvent> ParseEvent(const StoredEvent& event);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_H_
