#include "server/jobs/job_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/jobs/job_transitions.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

absl::Status JobNotFound(std::string_view kind, std::string_view id) {
  return WithResource(WithReason(absl::NotFoundError(absl::StrCat("no ", engine::ToAbsl(kind),
                                                                  " job ", engine::Quoted(id))),
                                 "JOB_NOT_FOUND"),
                      kind, id);
}

absl::Status JobExists(const Job& job) {
  return WithResource(WithReason(absl::AlreadyExistsError(absl::StrCat(
                                     "id: a job ", engine::Quoted(job.id),
                                     " with other settings exists, expected a new id")),
                                 "JOB_EXISTS"),
                      job.kind, job.id);
}

bool HasSameSettings(const Job& a, const Job& b) {
  return a.request == b.request && a.labels == b.labels && a.priority == b.priority;
}

}  // namespace

// Reading.

absl::StatusOr<JobEntryPtr> JobTable::Find(std::string_view kind, std::string_view id) const {
  engine::MutexLock lock(mutex_);
  return FindLocked(kind, id);
}

absl::StatusOr<JobEntryPtr> JobTable::FindLocked(std::string_view kind, std::string_view id) const {
  const auto found = jobs_.find(JobKey(kind, id));
  if (found != jobs_.end()) return found->second;
  return JobNotFound(kind, id);
}

absl::StatusOr<Job> JobTable::Get(std::string_view kind, std::string_view id) const {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const JobEntryPtr entry, FindLocked(kind, id));
  return entry->job_;
}

Job JobTable::Read(const JobEntryPtr& entry) const {
  engine::MutexLock lock(mutex_);
  return entry->job_;
}

std::vector<Job> JobTable::List(std::optional<std::string_view> kind,
                                const JobSelection& selection) const {
  engine::MutexLock lock(mutex_);
  std::vector<const Job*> jobs;
  for (const auto& [key, entry] : jobs_) {
    if (!kind || entry->job_.kind == *kind) jobs.push_back(&entry->job_);
  }
  return Select(jobs, selection);
}

bool JobTable::AnyUnfinished(absl::FunctionRef<bool(const Job&)> predicate) const {
  engine::MutexLock lock(mutex_);
  return std::ranges::any_of(
      unfinished_, [&](const auto& numbered) { return predicate(numbered.second->job_); });
}

std::vector<JobEntryPtr> JobTable::Unfinished() const {
  engine::MutexLock lock(mutex_);
  std::vector<JobEntryPtr> list;
  for (const auto& [number, entry] : unfinished_) list.push_back(entry);
  return list;
}

std::vector<JobEntryPtr> JobTable::Queued() const {
  engine::MutexLock lock(mutex_);
  std::vector<JobEntryPtr> list;
  for (const auto& [place, entry] : queued_) list.push_back(entry);
  return list;
}

std::vector<Job> JobTable::Running() const {
  engine::MutexLock lock(mutex_);
  std::vector<Job> list;
  for (const auto& [number, entry] : unfinished_) {
    if (IsRunning(entry->job_.state)) list.push_back(entry->job_);
  }
  return list;
}

std::vector<JobEntryPtr> JobTable::EndedBefore(std::string_view kind, int keep) const {
  engine::MutexLock lock(mutex_);
  std::vector<JobEntryPtr> ended;
  for (const auto& [key, entry] : jobs_) {
    if (entry->job_.kind == kind && HasEnded(entry->job_.state)) ended.push_back(entry);
  }
  if (std::ssize(ended) <= keep) return {};
  std::ranges::sort(ended, {}, [](const JobEntryPtr& entry) {
    return std::pair(entry->job_.end_time, entry->job_.number);
  });
  ended.resize(ended.size() - keep);
  return ended;
}

int JobTable::CountRunning() const {
  engine::MutexLock lock(mutex_);
  return static_cast<int>(std::ranges::count_if(
      unfinished_, [](const auto& numbered) { return IsRunning(numbered.second->job_.state); }));
}

int JobTable::CountRunning(std::string_view kind) const {
  engine::MutexLock lock(mutex_);
  return static_cast<int>(std::ranges::count_if(unfinished_, [&](const auto& numbered) {
    const Job& job = numbered.second->job_;
    return job.kind == kind && IsRunning(job.state);
  }));
}

absl::Status JobTable::Watch(std::string_view kind, std::string_view id,
                             const std::shared_ptr<JobWatcher>& watcher) {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const JobEntryPtr entry, FindLocked(kind, id));
  if (entry->watchers_.Add(watcher)) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("too many watches of job ", entry->job_.id,
                                                " (limit ", JobWatchers::kMaxWatchers, ")")),
      "TOO_MANY_WATCHES");
}

// Events.

absl::StatusOr<JobTable::RecentEvents> JobTable::Recent(std::string_view kind, std::string_view id,
                                                        int64_t after, int limit) const {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const JobEntryPtr entry, FindLocked(kind, id));
  std::optional<JobEvents> page = entry->events_.After(after, limit);
  const bool complete = page.has_value();
  if (!complete) page.emplace();
  page->has_ended = HasEnded(entry->job_.state);
  page->closed = closed_ && !IsRunning(entry->job_.state);
  return RecentEvents{.page = *std::move(page), .complete = complete, .stream = entry->uid_};
}

std::vector<JobTable::WaitingEvents> JobTable::Waiting() const {
  engine::MutexLock lock(mutex_);
  std::vector<WaitingEvents> waiting;
  for (const auto& [number, entry] : unsettled_) {
    waiting.push_back({.entry = entry, .events = entry->events_.waiting()});
  }
  return waiting;
}

void JobTable::AddEvent(const JobEntryPtr& entry, EventLevel level, std::string_view type,
                        json values) {
  engine::MutexLock lock(mutex_);
  if (entry->erased_) return;
  entry->events_.Add({.level = level,
                      .attempt = entry->job_.attempt,
                      .type = std::string(type),
                      .values = std::move(values)});
  unsettled_.emplace(entry->job_.number, entry);
}

void JobTable::SettleEvents(const JobEntryPtr& entry, std::vector<JobEvent> events, size_t waited) {
  if (observer_ != nullptr) {
    for (const JobEvent& event : events) observer_->OnEvent(entry->job_, event);
  }
  const size_t keep =
      IsRunning(entry->job_.state) ? JobEventBuffer::kRecentEvents : JobEventBuffer::kRestingEvents;
  entry->events_.Settle(std::move(events), waited, keep);
  if (entry->events_.waiting().empty()) unsettled_.erase(entry->job_.number);
}

void JobTable::PublishEvents(const JobEntryPtr& entry, std::vector<JobEvent> events) {
  engine::MutexLock lock(mutex_);
  const size_t waited = events.size();
  SettleEvents(entry, std::move(events), waited);
}

// Attempts.

bool JobTable::BeginAttempt(const JobEntryPtr& entry, const std::shared_ptr<StopRequest>& stop) {
  engine::MutexLock lock(mutex_);
  const JobState state = entry->job_.state;
  if (state != JobState::kValidating && !IsRunning(state)) return false;
  if (closed_ || ShouldStop(state)) stop->Make();
  entry->stop_ = stop;
  return true;
}

void JobTable::EndAttempt(const JobEntryPtr& entry) {
  engine::MutexLock lock(mutex_);
  entry->stop_ = nullptr;
}

void JobTable::SetProgress(const JobEntryPtr& entry, JobProgress progress) {
  engine::MutexLock lock(mutex_);
  entry->job_.progress = std::move(progress);
}

bool JobTable::SetWaitsFor(const JobEntryPtr& entry, std::string text) {
  engine::MutexLock lock(mutex_);
  Job& job = entry->job_;
  if (job.state != JobState::kQueued || job.waits_for == text) return false;
  job.waits_for = std::move(text);
  return true;
}

// Changes.

absl::StatusOr<std::optional<Job>> JobTable::Admit(Job& job, const JobKind& kind) const {
  engine::MutexLock lock(mutex_);
  if (const auto found = FindLocked(job.kind, job.id); found.ok()) {
    if (!HasSameSettings((*found)->job_, job)) return JobExists(job);
    return (*found)->job_;
  }
  if (closed_) return DrainingError();
  RETURN_IF_ERROR(CheckRoom(kind));
  if (job.id.empty()) job.id = NewId(kind);
  return std::nullopt;
}

absl::Status JobTable::CheckRoom(const JobKind& kind) const {
  if (std::ssize(jobs_) >= max_jobs_) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            jobs_.size(), " jobs exist, which is the limit; delete some that have ended")),
        "TOO_MANY_JOBS");
  }
  const auto waiting = std::ranges::count_if(unfinished_, [&](const auto& numbered) {
    const Job& job = numbered.second->job_;
    return job.kind == kind.name() &&
           (job.state == JobState::kValidating || job.state == JobState::kQueued);
  });
  if (waiting < kind.max_waiting()) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(
                        absl::StrCat("too many ", engine::ToAbsl(kind.name()),
                                     " jobs are waiting (limit ", kind.max_waiting(), ")")),
                    "TOO_MANY_JOBS");
}

std::string JobTable::NewId(const JobKind& kind) const {
  std::string id;
  do {
    id = absl::StrFormat("%s-%08x", std::string(kind.id_prefix()),
                         static_cast<uint32_t>(engine::RandomNumber()));
  } while (jobs_.contains(JobKey(kind.name(), id)));
  return id;
}

Job JobTable::InsertNew(Job job, JobEvent event) {
  const auto entry = std::make_shared<JobEntry>(std::move(job));
  engine::MutexLock lock(mutex_);
  entry->events_.BeginEmpty();
  jobs_.emplace(entry->key_, entry);
  Index(entry);
  TellState(entry, std::nullopt);
  SettleEvents(entry, {std::move(event)}, 0);
  return entry->job_;
}

JobEntryPtr JobTable::InsertStored(Job job) {
  auto entry = std::make_shared<JobEntry>(std::move(job));
  engine::MutexLock lock(mutex_);
  jobs_.emplace(entry->key_, entry);
  Index(entry);
  TellState(entry, std::nullopt);
  return entry;
}

absl::StatusOr<JobTable::Draft> JobTable::DraftOf(const JobEntryPtr& entry) const {
  engine::MutexLock lock(mutex_);
  if (entry->erased_) return JobNotFound(entry->job_.kind, entry->job_.id);
  return Draft{.job = entry->job_, .waiting = entry->events_.waiting()};
}

Job JobTable::Publish(const JobEntryPtr& entry, Job job, std::vector<JobEvent> events,
                      size_t waited) {
  engine::MutexLock lock(mutex_);
  Job& shown = entry->job_;
  const JobState before = shown.state;
  // These are not the journal's, and may be newer than its draft.
  job.progress = std::move(shown.progress);
  job.position = shown.position;
  job.waits_for = std::move(shown.waits_for);
  shown = std::move(job);
  if (shown.state != before) {
    Index(entry);
    TellState(entry, before);
  }
  SettleEvents(entry, std::move(events), waited);
  return shown;
}

void JobTable::TellState(const JobEntryPtr& entry, std::optional<JobState> before) {
  if (entry->stop_ != nullptr && ShouldStop(entry->job_.state)) entry->stop_->Make();
  if (observer_ != nullptr) observer_->OnState(entry->job_, before);
  changed_ = true;
  wake_.NotifyAll();
}

void JobTable::Erase(const JobEntryPtr& entry) {
  engine::MutexLock lock(mutex_);
  entry->erased_ = true;
  jobs_.erase(entry->key_);
  unfinished_.erase(entry->job_.number);
  unsettled_.erase(entry->job_.number);
  if (observer_ != nullptr) observer_->OnDeleted(entry->job_);
}

void JobTable::Index(const JobEntryPtr& entry) {
  Job& job = entry->job_;
  if (HasEnded(job.state)) {
    unfinished_.erase(job.number);
  } else {
    unfinished_.emplace(job.number, entry);
  }
  if (job.state == JobState::kQueued) {
    queued_.emplace(PlaceOf(job), entry);
    SetPositions();
  } else if (queued_.erase(PlaceOf(job)) > 0) {
    job.position = 0;
    job.waits_for.clear();
    SetPositions();
  }
}

void JobTable::SetPositions() {
  int32_t position = 0;
  for (const auto& [place, entry] : queued_) entry->job_.position = ++position;
}

// The end, and waits.

bool JobTable::Close() {
  engine::MutexLock lock(mutex_);
  if (std::exchange(closed_, true)) return false;
  for (const auto& [number, entry] : unfinished_) {
    if (entry->stop_ != nullptr) entry->stop_->Make();
  }
  wake_.NotifyAll();
  return true;
}

bool JobTable::closed() const {
  engine::MutexLock lock(mutex_);
  return closed_;
}

void JobTable::Stop() {
  engine::MutexLock lock(mutex_);
  stopped_ = true;
  wake_.NotifyAll();
}

JobEntryPtr JobTable::WaitForUnprepared(const std::function<WallTime()>& clock,
                                        std::chrono::milliseconds poll) {
  engine::MutexLock lock(mutex_);
  while (!closed_) {
    if (JobEntryPtr next = NextToPrepare(clock())) return next;
    wake_.WaitUntil(mutex_, steady_clock::now() + poll);
  }
  return nullptr;
}

JobEntryPtr JobTable::NextToPrepare(WallTime now) const {
  for (const auto& [number, entry] : unfinished_) {
    const Job& job = entry->job_;
    if (job.state != JobState::kValidating) continue;
    if (!job.next_attempt_time || *job.next_attempt_time <= now) return entry;
  }
  return nullptr;
}

bool JobTable::WaitForChange(steady_clock::time_point deadline) {
  engine::MutexLock lock(mutex_);
  while (!changed_ && !stopped_ && wake_.WaitUntil(mutex_, deadline)) {
  }
  changed_ = false;
  return !stopped_;
}

bool JobTable::WaitUnlessClosed(std::chrono::milliseconds duration) {
  engine::MutexLock lock(mutex_);
  if (closed_) return false;
  const auto end = steady_clock::now() + duration;
  while (!closed_ && wake_.WaitUntil(mutex_, end)) {
  }
  return true;
}

}  // namespace whipsnake::server
