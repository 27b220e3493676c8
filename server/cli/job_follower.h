// Follows a fine-tuning job to its end, over connections that break and servers that restart.
#ifndef WHIPSNAKE_SERVER_CLI_JOB_FOLLOWER_H_
#define WHIPSNAKE_SERVER_CLI_JOB_FOLLOWER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/cli/client.h"
#include "server/cli/interruption.h"
#include "whipsnake/v1/fine_tuning.grpc.pb.h"

namespace whipsnake::server {

absl::StatusOr<v1::FineTuningJob> GetJob(const ClientFlags& client, const std::string& id);

class JobListener {
 public:
  virtual ~JobListener() = default;
  virtual void OnEvent(const v1::FineTuningEvent& event) = 0;
  // The job as it is when a connection to the server is there, and when the job has ended.
  virtual void OnJob(const v1::FineTuningJob& /*job*/) {}
  // There has been no connection for so long.
  virtual void OnCut(std::chrono::milliseconds /*time*/) {}
};

// Not thread-safe.
class JobFollower {
 public:
  // Begins after the event `after`; 0: with the first. What it refers to must outlive it.
  JobFollower(const ClientFlags& client, std::string id, int64_t after, Interruption* interruption);

  // Tells the listener every event, once and in order, and returns the job once it has ended. If
  // the connection breaks, or the server is not there, connects again and continues after the last
  // event. Gives up after `patience` without progress, and at once if the server never answered.
  // CANCELLED after Ctrl-C; otherwise an error for the user.
  absl::StatusOr<v1::FineTuningJob> Follow(JobListener& listener,
                                           std::chrono::milliseconds patience);

  // The last event that the listener knows.
  int64_t last_event_id() const { return last_event_id_; }

 private:
  // One connection: reads the job, and then events until the stream ends. OK once the job has
  // ended.
  grpc::Status Read(JobListener& listener);
  grpc::Status ReadJob(JobListener& listener);

  const ClientFlags& client_;
  const std::string id_;
  Interruption& interruption_;
  const std::unique_ptr<v1::FineTuningService::Stub> stub_;
  v1::FineTuningJob job_;  // as it was last read
  int64_t last_event_id_;
  bool reached_ = false;     // whether the server has ever answered
  bool progressed_ = false;  // whether the last connection brought events, or lasted
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_JOB_FOLLOWER_H_
