#include "server/rpc/job_watch.h"

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/rpc/fine_tuning_messages.h"
#include "server/rpc/job_stream.h"
#include "server/rpc/messages.h"

namespace whipsnake::server {
namespace {

constexpr int kEventsInMessage = 256;

class JobWatch final : public JobStream, public std::enable_shared_from_this<JobWatch> {
 public:
  JobWatch(JobQueue& jobs, DiskQueue& disk, std::chrono::milliseconds end_timeout,
           grpc::CallbackServerContext* context)
      : JobStream(jobs, kFineTuning, end_timeout, context), disk_(disk) {}

  void Begin(const grpc::ByteBuffer& bytes) {
    Watch(shared_from_this(), [&]() -> absl::StatusOr<std::string> {
      v1::WatchFineTuningJobRequest request;
      RETURN_IF_ERROR(ReceiveRequest(context(), bytes, &request));
      if (request.after_event_id() < 0) {
        return engine::InvalidField("after_event_id", std::to_string(request.after_event_id()),
                                    "an event's id, or 0");
      }
      engine::MutexLock lock(mutex_);
      after_ = request.after_event_id();
      return request.id();
    });
  }

 private:
  absl::StatusOr<Step> Next(grpc::ByteBuffer& message) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (reading_) {
      changed_while_reading_ = true;
      return Step::kWait;
    }
    RETURN_IF_ERROR(read_error_);
    std::optional<JobEvents> page = std::exchange(read_, std::nullopt);
    // Events that came during the reading may be missing.
    if (page && page->events.empty() && changed_while_reading_) page.reset();
    if (!page) {
      ASSIGN_OR_RETURN(page, jobs_.RecentEvents(kFineTuning, id_, after_, kEventsInMessage));
    }
    if (!page) {
      ReadFromDisk();
      return Step::kWait;
    }
    if (page->events.empty()) {
      if (page->has_ended) return Step::kEnd;
      if (page->closed) return DrainingError();
      return Step::kWait;
    }
    v1::WatchFineTuningJobResponse response;
    for (const JobEvent& event : page->events) *response.add_events() = ToProto(event);
    after_ = page->events.back().id;
    message = SerializeMessage(response);
    return Step::kWrite;
  }

  void ReadFromDisk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    reading_ = true;
    changed_while_reading_ = false;
    std::list<DiskQueue::Task> task;
    task.push_back({.client = std::nullopt,
                    .run = [self = shared_from_this(), id = id_, after = after_](bool) {
                      self->Read(id, after);
                    }});
    disk_.Push(task);
  }

  void Read(const std::string& id, int64_t after) {
    absl::StatusOr<JobEvents> page = engine::CatchExceptions(
        [&] { return jobs_.Events(kFineTuning, id, after, kEventsInMessage); });
    {
      engine::MutexLock lock(mutex_);
      reading_ = false;
      if (page.ok()) {
        read_ = *std::move(page);
      } else {
        read_error_ = page.status();
      }
    }
    Pump();
  }

  DiskQueue& disk_;
  int64_t after_ ABSL_GUARDED_BY(mutex_) = 0;     // the last event that was written
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;  // from the disk
  bool changed_while_reading_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<JobEvents> read_ ABSL_GUARDED_BY(mutex_);  // from the disk, to be written
  absl::Status read_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartJobWatch(JobQueue& jobs, DiskQueue& disk,
                                                          std::chrono::milliseconds end_timeout,
                                                          grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer& request) {
  const auto watch = std::make_shared<JobWatch>(jobs, disk, end_timeout, context);
  watch->Begin(request);
  return watch.get();
}

}  // namespace whipsnake::server
