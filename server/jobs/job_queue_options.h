// The settings of a queue of jobs.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_OPTIONS_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_OPTIONS_H_

#include <chrono>
#include <functional>

#include "server/jobs/job_transitions.h"
#include "server/store/store.h"

namespace whipsnake::server {

struct JobQueueOptions {
  int max_running = 4;    // of all kinds
  int max_jobs = 10'000;  // with those that have ended
  // From an event to its being durable, and from one heartbeat to the next.
  std::chrono::milliseconds flush_interval{500}, heartbeat_interval{5000};
  // Whether the store survives the process. If it does not, jobs are cancelled when the queue
  // closes.
  bool durable = true;
  // Before the second attempt after a failure; doubles with each failure.
  std::chrono::milliseconds first_backoff{10'000}, longest_backoff{600'000};
  std::function<WallTime()> clock = [] { return std::chrono::system_clock::now(); };

  // How a failure that ends now is dealt with. `temporary`: see Retry.
  Retry RetryNow(bool temporary) const {
    return {.temporary = temporary,
            .first_backoff = first_backoff,
            .longest_backoff = longest_backoff,
            .now = clock()};
  }
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_QUEUE_OPTIONS_H_
