// Which jobs a list has, and in which order.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_SELECTION_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_SELECTION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "server/jobs/job.h"

namespace whipsnake::server {

struct JobSelection {
  // Where a job is in the list, ascending. The second decides between equal first ones.
  using Place = std::pair<int64_t, int64_t>;
  static Place ByCreation(const Job& job) { return {0, job.number}; }

  // Both are called with a lock of the queue held: they must be quick and must not call the queue.
  std::function<bool(const Job&)> matches = [](const Job&) { return true; };
  std::function<Place(const Job&)> place = ByCreation;
  std::optional<Place> after = {};  // only those after this place
  size_t limit = std::numeric_limits<size_t>::max();
};

// Copies the selected ones of `jobs`, and no others, in their order.
std::vector<Job> Select(const std::vector<const Job*>& jobs, const JobSelection& selection);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_SELECTION_H_
