// A kind of job: what the queue calls to prepare and to run one.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_KIND_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_KIND_H_

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "server/jobs/job.h"
#include "server/store/store.h"

namespace whipsnake::server {

// The queue as a job that is prepared or runs sees it. Thread-safe.
class JobRun {
 public:
  virtual ~JobRun() = default;

  // CANCELLED once the work should end. To be asked often: between steps, or once a second.
  virtual absl::Status CheckStop() const = 0;
  // For a run: memory with the limit that the preparation has asked for; 0 bytes mean the server's
  // own ledger. For a preparation: the bytes that a job may have at most.
  virtual engine::Ledger& ledger() = 0;
  // Shows the progress. Durable with the next Commit or change of the state.
  virtual void Report(JobProgress progress) = 0;
  // Adds an event, which is durable, and can be read, a second later at most.
  virtual void AddEvent(EventLevel level, std::string_view type, nlohmann::json values) = 0;
  // Makes the writes durable, with all that was reported and added. To be called once work is done
  // that a later attempt need not do again: attempts that fail in a row are counted from there.
  virtual absl::Status Commit(std::vector<Write> writes) = 0;
};

struct Preparation {
  int64_t bytes = 0;  // with which the job is admitted; 0: it takes its memory as it needs it
  nlohmann::json details = nlohmann::json::object();
};

// Calls for different jobs may come from different threads at once.
class JobKind {
 public:
  virtual ~JobKind() = default;

  virtual std::string_view name() const = 0;
  virtual std::string_view id_prefix() const = 0;  // of the ids that the queue makes
  // The most jobs of this kind that run at once, that wait, and that are kept after they have
  // ended: the oldest are then deleted.
  virtual int max_running() const { return std::numeric_limits<int>::max(); }
  virtual int max_waiting() const { return std::numeric_limits<int>::max(); }
  virtual int max_ended() const { return std::numeric_limits<int>::max(); }
  // Whether another attempt may succeed where one has ended with this error. A crash of the server
  // is UNAVAILABLE.
  virtual bool IsTemporary(const absl::Status& error) const {
    return absl::IsResourceExhausted(error) || absl::IsUnavailable(error);
  }

  // Whether a record's request is one of this kind.
  virtual bool IsValid(const nlohmann::json& request) const = 0;
  // Checks a new job against its inputs and says what it needs. An error fails the job, which keeps
  // the details that are set until then.
  virtual absl::Status Prepare(const Job& job, JobRun& run, Preparation& preparation) = 0;
  // Does the work, from its beginning or from what earlier attempts have left, and returns the
  // result. Returns CANCELLED, with its state saved, if CheckStop() says so. Other
  // errors fail the job, unless they are temporary.
  virtual absl::StatusOr<nlohmann::json> Run(const Job& job, JobRun& run) = 0;
  // Removes what a job that has ended need not keep of its request.
  virtual void TrimRequest(nlohmann::json& /*request*/) const {}
  // Removes the files of a job that is deleted. May take long. Logs errors.
  virtual void RemoveFiles(const std::string& uid) = 0;
  // Called at the start: removes the files of jobs that are not among these.
  virtual void Sweep(const std::set<std::string>& uids) = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_KIND_H_
