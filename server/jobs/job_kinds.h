// The kinds of jobs that a queue runs.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_KINDS_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_KINDS_H_

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "server/jobs/job_kind.h"

namespace whipsnake::server {

// Never changes. Thread-safe.
class JobKinds {
 public:
  explicit JobKinds(std::vector<std::unique_ptr<JobKind>> kinds) : kinds_(std::move(kinds)) {}

  // Null if there is no such kind.
  JobKind* Find(std::string_view name) const {
    const auto found =
        std::ranges::find_if(kinds_, [&](const auto& kind) { return kind->name() == name; });
    return found != kinds_.end() ? found->get() : nullptr;
  }
  // The kind of a job of the queue.
  JobKind& Of(const Job& job) const { return *Find(job.kind); }

  const std::vector<std::unique_ptr<JobKind>>& all() const { return kinds_; }

 private:
  const std::vector<std::unique_ptr<JobKind>> kinds_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_KINDS_H_
