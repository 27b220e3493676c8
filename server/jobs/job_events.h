// The events of one job that are in memory.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_EVENTS_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_EVENTS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "server/jobs/job.h"

namespace whipsnake::server {

// A part of a job's events.
struct JobEvents {
  std::vector<JobEvent> events;
  bool more = false;       // whether there are events after these, now
  bool has_ended = false;  // the job has: unless it is resumed, there will be no others
  bool closed = false;     // the queue is closed, and the job does not run: there will be no others
};

// Events that wait to be durable, and the last of those that are: of a job that runs so many that
// its watchers find what they have not seen yet, of another one only those of its last moments,
// because a server may keep thousands of these. Not thread-safe.
class JobEventBuffer {
 public:
  static constexpr size_t kRecentEvents = 1024;  // of a job that runs
  static constexpr size_t kRestingEvents = 16;   // of one that does not

  // The job is new: there are no durable events yet. Otherwise those that there are are unknown.
  void BeginEmpty() { recent_after_ = 0; }

  void Add(JobEvent event) { waiting_.push_back(std::move(event)); }
  const std::vector<JobEvent>& waiting() const { return waiting_; }
  // The first `waited` of those that wait are durable and no longer wait. `durable` are all events
  // that have become durable, with their ids. Keeps the last `keep` of all.
  void Settle(std::vector<JobEvent> durable, size_t waited, size_t keep);

  // Returns at most `limit` durable events after `after`, without has_ended and closed. Nullopt if
  // they are not all here.
  std::optional<JobEvents> After(int64_t after, int limit) const;

 private:
  std::vector<JobEvent> waiting_;
  std::deque<JobEvent> recent_;
  // Events after this one are all in `recent_`; -1 if that is not known.
  int64_t recent_after_ = -1;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_EVENTS_H_
