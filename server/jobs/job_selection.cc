#include "server/jobs/job_selection.h"

#include <algorithm>

namespace whipsnake::server {

std::vector<Job> Select(const std::vector<const Job*>& jobs, const JobSelection& selection) {
  std::vector<std::pair<JobSelection::Place, const Job*>> placed;
  for (const Job* job : jobs) {
    if (!selection.matches(*job)) continue;
    const JobSelection::Place place = selection.place(*job);
    if (!selection.after || place > *selection.after) placed.emplace_back(place, job);
  }
  const auto end =
      placed.begin() + static_cast<ptrdiff_t>(std::min(selection.limit, placed.size()));
  std::ranges::partial_sort(placed, end, {}, [](const auto& pair) { return pair.first; });
  std::vector<Job> selected;
  for (auto pair = placed.begin(); pair != end; ++pair) selected.push_back(*pair->second);
  return selected;
}

}  // namespace whipsnake::server
