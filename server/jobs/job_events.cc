#include "server/jobs/job_events.h"

#include <algorithm>
#include <utility>

namespace whipsnake::server {

void JobEventBuffer::Settle(std::vector<JobEvent> durable, size_t waited, size_t keep) {
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(waited));
  for (JobEvent& event : durable) recent_.push_back(std::move(event));
  while (recent_.size() > keep) {
    recent_after_ = recent_.front().id;
    recent_.pop_front();
  }
}

std::optional<JobEvents> JobEventBuffer::After(int64_t after, int limit) const {
  const bool from_start = recent_after_ >= 0 && after >= recent_after_;
  const bool from_recent = !recent_.empty() && after >= recent_.front().id;
  if (!from_start && !from_recent) return std::nullopt;
  const auto first = std::ranges::upper_bound(recent_, after, {}, &JobEvent::id);
  const auto count = std::min<ptrdiff_t>(recent_.end() - first, limit);
  JobEvents page;
  page.events.assign(first, first + count);
  page.more = first + count != recent_.end();
  return page;
}

}  // namespace whipsnake::server
