#include "server/jobs/job.h"

#include <array>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;  // of the value of a record
constexpr std::array<std::string_view, kJobStateCount> kStateNames = {
    "validating", "queued",    "running", "pausing",  "paused",
    "cancelling", "succeeded", "failed",  "cancelled"};
constexpr std::array<std::string_view, 3> kLevelNames = {"info", "warning", "error"};

int64_t Milliseconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

void SetTime(json& object, const char* key, const std::optional<WallTime>& time) {
  if (time) object[key] = Milliseconds(*time);
}

std::optional<WallTime> TimeOf(const json& object, const char* key) {
  if (!object.contains(key)) return std::nullopt;
  return WallTime(std::chrono::milliseconds(object.at(key).get<int64_t>()));
}

json ErrorToJson(const JobError& error) {
  return {{"reason", error.reason}, {"message", error.message}, {"field", error.field}};
}

// Text of libraries may be anything; a record is UTF-8.
std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Runs `read`, whose json accesses throw for a document of another shape.
template <typename Read>
absl::Status ReadDocument(std::string_view what, const std::string& text, const Read& read) {
  try {
    const json document = json::parse(text);
    read(document);
  } catch (const json::exception& error) {
    return absl::DataLossError(absl::StrCat(engine::ToAbsl(what), ": ", error.what()));
  }
  return absl::OkStatus();
}

void ReadJob(const json& value, Job& job) {
  if (value.at("version") != kVersion)
    throw json::other_error::create(501, "another version", &value);
  job.kind = value.at("kind");
  job.id = value.at("id");
  job.uid = value.at("uid");
  job.labels = value.at("labels").get<std::map<std::string, std::string>>();
  job.priority = value.at("priority");
  job.request = value.at("request");
  job.details = value.at("details");
  job.result = value.at("result");
  job.prepared = value.at("prepared");
  job.bytes = value.at("bytes");
  job.reason = value.at("reason");
  job.attempt = value.at("attempt");
  job.changes = value.at("changes");
  job.failures = value.at("failures");
  const json& progress = value.at("progress");
  job.progress = {progress.at("stage"), progress.at("fraction"), progress.at("values")};
  job.start_time = TimeOf(value, "start_time");
  job.end_time = TimeOf(value, "end_time");
  job.next_attempt_time = TimeOf(value, "next_attempt_time");
  if (!value.contains("error")) return;
  const json& error = value.at("error");
  job.error = JobError{error.at("reason"), error.at("message"), error.at("field")};
}

}  // namespace

std::string_view Name(JobState state) { return kStateNames[static_cast<int>(state)]; }

absl::StatusOr<JobState> ParseJobState(std::string_view name) {
  for (int i = 0; i < kJobStateCount; ++i) {
    if (kStateNames[i] == name) return static_cast<JobState>(i);
  }
  return engine::InvalidField("state", engine::Quoted(name), "a state of jobs, such as running");
}

bool IsRunning(JobState state) {
  return state == JobState::kRunning || state == JobState::kPausing ||
         state == JobState::kCancelling;
}

JobError ToJobError(const absl::Status& status) {
  return {.reason = ReasonOf(status),
          .message = engine::BoundedUtf8(engine::ClientMessage(status), kMaxMessageBytes),
          .field = engine::FieldOf(status)};
}

std::string JobKey(std::string_view kind, std::string_view id) {
  return absl::StrCat(engine::ToAbsl(kind), "/", engine::ToAbsl(id));
}

std::string JobValue(const Job& job) {
  json value = {{"version", kVersion},
                {"kind", job.kind},
                {"id", job.id},
                {"uid", job.uid},
                {"labels", job.labels},
                {"priority", job.priority},
                {"request", job.request},
                {"details", job.details},
                {"result", job.result},
                {"prepared", job.prepared},
                {"bytes", job.bytes},
                {"state", std::string(Name(job.state))},
                {"reason", job.reason},
                {"attempt", job.attempt},
                {"changes", job.changes},
                {"failures", job.failures},
                {"progress",
                 {{"stage", job.progress.stage},
                  {"fraction", job.progress.fraction},
                  {"values", job.progress.values}}}};
  SetTime(value, "start_time", job.start_time);
  SetTime(value, "end_time", job.end_time);
  SetTime(value, "next_attempt_time", job.next_attempt_time);
  if (job.error) value["error"] = ErrorToJson(*job.error);
  return Dump(value);
}

absl::StatusOr<Job> ParseJob(const Record& record) {
  Job job;
  std::string state;
  RETURN_IF_ERROR(ReadDocument("job " + record.key, record.value, [&](const json& value) {
    ReadJob(value, job);
    state = value.at("state");
  }));
  absl::StatusOr<JobState> parsed = ParseJobState(state);
  if (!parsed.ok()) return absl::DataLossError(parsed.status().message());
  job.state = *parsed;
  job.number = record.number;
  job.revision = record.revision;
  job.create_time = record.create_time;
  return job;
}

std::string_view Name(EventLevel level) { return kLevelNames[static_cast<int>(level)]; }

std::string EventValue(const JobEvent& event) {
  return Dump(json{{"level", std::string(Name(event.level))},
                   {"attempt", event.attempt},
                   {"type", event.type},
                   {"values", event.values}});
}

absl::StatusOr<JobEvent> ParseEvent(const StoredEvent& stored) {
  JobEvent event;
  std::string level;
  RETURN_IF_ERROR(
      ReadDocument(absl::StrCat("event ", stored.id), stored.value, [&](const json& value) {
        level = value.at("level");
        event.attempt = value.at("attempt");
        event.type = value.at("type");
        event.values = value.at("values");
      }));
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == level) event.level = static_cast<EventLevel>(i);
  }
  event.id = stored.id;
  event.time = stored.time;
  return event;
}

}  // namespace whipsnake::server
