#include "server/console/job_histories.h"

#include <algorithm>
#include <list>
#include <optional>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

// Events that are copied at once, with the queue's lock held.
constexpr int kEventsInCopy = 256;

}  // namespace

JobHistories::EntryPtr JobHistories::FindOrAdd(const std::string& uid) {
  engine::MutexLock lock(mutex_);
  auto found = std::ranges::find(entries_, uid, [](const EntryPtr& entry) { return entry->uid; });
  if (found == entries_.end()) {
    auto entry = std::make_shared<Entry>();
    entry->uid = uid;
    found = entries_.insert(entries_.end(), std::move(entry));
  }
  entries_.splice(entries_.begin(), entries_, found);
  if (entries_.size() > kMaxJobs) entries_.pop_back();
  return entries_.front();
}

absl::StatusOr<bool> JobHistories::CatchUp(const Job& job, Entry& entry, bool& more) {
  engine::MutexLock lock(entry.mutex);
  more = true;
  if (entry.reading) return true;
  for (int added = 0; more && added < kEventsAtOnce; added += kEventsInCopy) {
    ASSIGN_OR_RETURN(
        const std::optional<JobEvents> page,
        jobs_.RecentEvents(job.kind, job.id, entry.history.last_event(), kEventsInCopy));
    if (!page) {
      entry.reading = true;
      return false;
    }
    for (const JobEvent& event : page->events) entry.history.Add(event);
    more = page->more;
  }
  return true;
}

absl::Status JobHistories::Read(const JobQueue& jobs, const Job& job, Entry& entry, bool& more) {
  int64_t after = 0;
  {
    engine::MutexLock lock(entry.mutex);
    after = entry.history.last_event();
  }
  // Without the lock, which requests of the HTTP server's thread take.
  absl::StatusOr<JobEvents> page =
      engine::CatchExceptions([&] { return jobs.Events(job.kind, job.id, after, kEventsAtOnce); });
  engine::MutexLock lock(entry.mutex);
  entry.reading = false;
  RETURN_IF_ERROR(page.status());
  for (const JobEvent& event : page->events) entry.history.Add(event);
  more = page->more;
  return absl::OkStatus();
}

void JobHistories::Get(const std::string& kind, const std::string& id, HistoryMark mark,
                       const Done& done) {
  const absl::StatusOr<Job> job = jobs_.Get(kind, id);
  if (!job.ok()) return done(job.status());
  const EntryPtr entry = FindOrAdd(job->uid);
  if (mark.uid != job->uid) mark = {};
  const auto finish = [entry, mark, done](const absl::Status& status, bool more) {
    if (!status.ok()) return done(status);
    nlohmann::json reply;
    {
      engine::MutexLock lock(entry->mutex);
      reply = entry->history.After(mark);
    }
    reply["more"] = more;
    reply["uid"] = entry->uid;
    done(std::move(reply));
  };
  bool more = false;
  const absl::StatusOr<bool> caught_up = CatchUp(*job, *entry, more);
  if (!caught_up.ok() || *caught_up) return finish(caught_up.status(), more);
  std::list<DiskQueue::Task> task;
  task.push_back({.client = std::nullopt, .run = [jobs = &jobs_, job = *job, entry, finish](bool) {
                    bool left = false;
                    const absl::Status status = Read(*jobs, job, *entry, left);
                    finish(status, left);
                  }});
  disk_.Push(task);
}

}  // namespace whipsnake::server
