#include "server/jobs/job_watchers.h"

#include <utility>

#include "server/guarded.h"

namespace whipsnake::server {

bool JobWatchers::Add(const std::shared_ptr<JobWatcher>& watcher) {
  engine::MutexLock lock(mutex_);
  std::erase_if(watchers_, [](const auto& other) { return other.expired(); });
  if (watchers_.size() >= kMaxWatchers) return false;
  watchers_.push_back(watcher);
  return true;
}

void JobWatchers::Notify() noexcept {
  RunGuarded("jobs", [&] {
    for (const auto& watcher : Living()) {
      RunGuarded("jobs", [&] { watcher->OnJobChanged(); });
    }
  });
}

std::vector<std::shared_ptr<JobWatcher>> JobWatchers::Living() {
  engine::MutexLock lock(mutex_);
  std::vector<std::shared_ptr<JobWatcher>> living;
  for (const auto& weak : watchers_) {
    if (auto watcher = weak.lock()) living.push_back(std::move(watcher));
  }
  return living;
}

}  // namespace whipsnake::server
