#include "server/jobs/job_queue.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/exceptions.h"
#include "engine/base/human.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/guarded.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// From a change that could not be committed to the next attempt.
constexpr milliseconds kCommitRetry{1000};
// Threads of jobs give way to those of serving: the kernels run on the executor's.
constexpr int kJobNiceness = 10;

const std::string kServerStopped = "the server stopped";
const std::string kShuttingDown = "the server is shutting down";

// Lowers the priority of the calling thread.
void BeNice() { setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kJobNiceness); }

constexpr char kJobNotFound[] = "JOB_NOT_FOUND";

absl::Status JobNotFound(std::string_view kind, std::string_view id) {
  return WithResource(WithReason(absl::NotFoundError(absl::StrCat("no ", engine::ToAbsl(kind),
                                                                  " job ", engine::Quoted(id))),
                                 kJobNotFound),
                      kind, id);
}

absl::Status WrongState(const Job& job, std::string_view expected) {
  return WithPrecondition(WithReason(absl::FailedPreconditionError(absl::StrCat(
                                         "job ", job.id, " is ", engine::ToAbsl(Name(job.state)),
                                         ", expected ", engine::ToAbsl(expected))),
                                     "JOB_STATE"),
                          "JOB_STATE", job.id);
}

absl::Status CheckEtag(const Job& job, std::string_view etag) {
  if (etag.empty() || etag == job.etag()) return absl::OkStatus();
  return WithReason(
      absl::AbortedError(absl::StrCat("etag: ", engine::Quoted(etag), " seen, expected \"",
                                      job.revision, "\", the etag of job ", job.id, " now")),
      "ETAG_MISMATCH");
}

// Whether a change that could not be recorded may be recorded later: errors of the disk are.
bool MayPass(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ||
         absl::IsInternal(status) || absl::IsDataLoss(status);
}

void SetState(Job& job, JobState state, std::string reason) {
  job.state = state;
  job.reason = std::move(reason);
}

void End(Job& job, JobState state, std::string reason, WallTime now) {
  SetState(job, state, std::move(reason));
  job.end_time = now;
  job.next_attempt_time.reset();
}

JobEvent StateEvent(const Job& job) {
  const EventLevel level = job.state == JobState::kFailed                ? EventLevel::kError
                           : job.error && job.state == JobState::kQueued ? EventLevel::kWarning
                                                                         : EventLevel::kInfo;
  return {.level = level,
          .attempt = job.attempt,
          .type = "state",
          .values = {{"state", std::string(Name(job.state))}, {"reason", job.reason}}};
}

// The disk may work again the next time.
void LogStoreError(const absl::Status& status) {
  if (status.ok()) return;
  LogLimited(LogLevel::kError, "the store of jobs failed",
             {{"error", std::string(status.message())}});
}

void LogState(const Job& job) {
  const LogLevel level = job.state == JobState::kFailed ? LogLevel::kError : LogLevel::kInfo;
  LogLimited(level, "job changed its state",
             {{"kind", job.kind},
              {"job", job.id},
              {"uid", job.uid},
              {"state", std::string(Name(job.state))},
              {"reason", job.reason},
              {"attempt", static_cast<int64_t>(job.attempt)}});
}

}  // namespace

// Guarded by the queue's mutex_, but for the key.
struct JobQueue::Entry {
  std::string key;
  Job job;               // as it is committed, with the latest progress
  bool deleted = false;  // its key may be that of another job by now
  StopRequest stop = StopRequest::kNone;
  std::string waits_for;
  engine::Ledger* ledger = nullptr;  // of a run
  std::vector<JobEvent> waiting;     // to be durable
  std::deque<JobEvent> recent;       // the last durable ones
  // Events after this one are all in `recent`; -1 if that is not known.
  int64_t recent_after = -1;
  std::vector<std::weak_ptr<JobWatcher>> watchers;
};

// A preparation or a run of a job.
class JobQueue::Run final : public JobRun {
 public:
  Run(JobQueue* queue, EntryPtr entry, engine::Ledger* ledger)
      : queue_(*queue), entry_(std::move(entry)), ledger_(*ledger) {}

  absl::Status CheckStop() const override {
    engine::MutexLock lock(queue_.mutex_);
    return entry_->stop == StopRequest::kNone ? absl::OkStatus()
                                              : absl::CancelledError("the job has to stop");
  }
  engine::Ledger& ledger() override { return ledger_; }

  void Report(JobProgress progress) override {
    {
      engine::MutexLock lock(queue_.mutex_);
      entry_->job.progress = std::move(progress);
    }
    queue_.NotifyWatchers(entry_);
  }

  void AddEvent(EventLevel level, std::string_view type, json values) override {
    engine::MutexLock lock(queue_.mutex_);
    entry_->waiting.push_back({.level = level,
                               .attempt = entry_->job.attempt,
                               .type = std::string(type),
                               .values = std::move(values)});
  }

  absl::Status Commit(std::vector<Write> writes) override {
    absl::Status status;
    {
      engine::MutexLock commit(queue_.commit_mutex_);
      status = queue_
                   .Apply(
                       entry_,
                       [](Job& job) {
                         job.failures = 0;
                         return absl::OkStatus();
                       },
                       std::move(writes))
                   .status();
    }
    queue_.NotifyWatchers(entry_);
    return StorageError(status, "the server could not record the job's progress");
  }

 private:
  JobQueue& queue_;
  const EntryPtr entry_;
  engine::Ledger& ledger_;
};

JobQueue::JobQueue(Store* store, engine::Ledger* ledger,
                   std::vector<std::unique_ptr<JobKind>> kinds, JobObserver* observer,
                   JobQueueOptions options)
    : store_(store),
      ledger_(ledger),
      kinds_(std::move(kinds)),
      observer_(observer),
      options_(std::move(options)),
      // A thread whose job has ended may still have a moment to live.
      runs_(std::make_unique<Background>(2 * options_.max_running)) {}

absl::StatusOr<std::unique_ptr<JobQueue>> JobQueue::Open(
    Store* store, engine::Ledger* ledger, std::vector<std::unique_ptr<JobKind>> kinds,
    JobObserver* observer, JobQueueOptions options) {
  std::unique_ptr<JobQueue> queue(
      new JobQueue(store, ledger, std::move(kinds), observer, std::move(options)));
  RETURN_IF_ERROR(queue->Load());
  return queue;
}

JobQueue::~JobQueue() { Stop(); }

absl::Status JobQueue::Load() {
  constexpr int kPage = 256;
  std::vector<EntryPtr> entries;
  bool all_valid = true;
  int64_t after = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<Record> page, store_->List(Collection::kJobs, after, kPage));
    if (!AddEntries(page, entries)) all_valid = false;
    if (std::ssize(page) < kPage) break;
    after = page.back().number;
  }
  for (const auto& kind : kinds_) {
    std::set<std::string> uids;
    for (const EntryPtr& entry : entries) {
      if (entry->job.kind == kind->name()) uids.insert(entry->job.uid);
    }
    if (all_valid) kind->Sweep(uids);
  }
  engine::MutexLock commit(commit_mutex_);
  for (const EntryPtr& entry : entries) {
    {
      engine::MutexLock lock(mutex_);
      jobs_.emplace(entry->key, entry);
      if (observer_ != nullptr) observer_->OnState(entry->job, std::nullopt);
    }
    RETURN_IF_ERROR(Recover(entry));
  }
  return absl::OkStatus();
}

bool JobQueue::AddEntries(const std::vector<Record>& page, std::vector<EntryPtr>& entries) const {
  bool all_valid = true;
  for (const Record& record : page) {
    absl::StatusOr<Job> job = ParseJob(record);
    const JobKind* kind = job.ok() ? FindKind(job->kind) : nullptr;
    if (job.ok() && kind == nullptr) {
      job = absl::UnimplementedError(absl::StrCat("kind ", engine::Quoted(job->kind)));
    } else if (job.ok() && !kind->IsValid(job->request)) {
      job = absl::DataLossError("the request is not one of this kind");
    }
    if (!job.ok()) {
      Log(LogLevel::kError, "a job's record is not valid and is left alone",
          {{"key", record.key}, {"error", std::string(job.status().message())}});
      all_valid = false;
      continue;
    }
    auto entry = std::make_shared<Entry>();
    entry->key = record.key;
    entry->job = *std::move(job);
    entries.push_back(std::move(entry));
  }
  return all_valid;
}

absl::Status JobQueue::Recover(const EntryPtr& entry) {
  const auto recover = [this](Job& job) {
    switch (job.state) {
      case JobState::kRunning:
        RetryOrFail(job, WithReason(absl::UnavailableError("the server crashed while it ran"),
                                    "SERVER_CRASHED"));
        break;
      case JobState::kPausing:
        SetState(job, JobState::kPaused, job.reason);
        ++job.attempt;
        break;
      case JobState::kCancelling:
        End(job, JobState::kCancelled, job.reason, options_.clock());
        break;
      default:
        break;
    }
    return absl::OkStatus();
  };
  {
    engine::MutexLock lock(mutex_);
    if (!IsRunning(entry->job.state)) return absl::OkStatus();
  }
  return Apply(entry, recover).status();
}

void JobQueue::Start() {
  preparer_ = std::thread([this] { PrepareLoop(); });
  dispatcher_ = std::thread([this] { DispatchLoop(); });
}

// What clients ask for.

absl::StatusOr<Job> JobQueue::Create(const NewJob& request) {
  engine::MutexLock commit(commit_mutex_);
  auto entry = std::make_shared<Entry>();
  Job& job = entry->job;
  job.kind = request.kind;
  job.id = request.id;
  job.labels = request.labels;
  job.priority = request.priority;
  job.request = request.request;
  job.uid = absl::StrFormat("%016x", engine::RandomNumber());
  {
    engine::MutexLock lock(mutex_);
    if (const auto found = Find(job.kind, job.id); found.ok()) {
      const Job& existing = (*found)->job;
      if (existing.request == job.request && existing.labels == job.labels &&
          existing.priority == job.priority) {
        return Snapshot(**found);
      }
      return WithResource(WithReason(absl::AlreadyExistsError(absl::StrCat(
                                         "id: a job ", engine::Quoted(job.id),
                                         " with other settings exists, expected a new id")),
                                     "JOB_EXISTS"),
                          job.kind, job.id);
    }
    if (closed_) return DrainingError();
    const JobKind& kind = KindOf(job);
    RETURN_IF_ERROR(CheckRoom(kind));
    if (job.id.empty()) job.id = NewId(kind);
  }
  entry->key = JobKey(job.kind, job.id);
  entry->recent_after = 0;
  JobEvent event = StateEvent(job);
  ASSIGN_OR_RETURN(
      const Committed committed,
      Commit({CreateRecord{Collection::kJobs, entry->key, /*parent=*/"", JobValue(job)},
              AppendEvent{job.uid, EventValue(event)}}));
  job.number = committed.records.front().number;
  job.revision = committed.records.front().revision;
  job.create_time = committed.records.front().create_time;
  event.id = committed.events.front().id;
  event.time = committed.events.front().time;
  engine::MutexLock lock(mutex_);
  jobs_.emplace(entry->key, entry);
  if (observer_ != nullptr) observer_->OnState(job, std::nullopt);
  Publish(*entry, {event}, 0);
  changed_ = true;
  wake_.NotifyAll();
  LogState(job);
  return Snapshot(*entry);
}

absl::Status JobQueue::CheckRoom(const JobKind& kind) const {
  if (std::ssize(jobs_) >= options_.max_jobs) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            jobs_.size(), " jobs exist, which is the limit; delete some that have ended")),
        "TOO_MANY_JOBS");
  }
  const auto waiting = std::ranges::count_if(jobs_, [&](const auto& named) {
    const Job& job = named.second->job;
    return job.kind == kind.name() &&
           (job.state == JobState::kValidating || job.state == JobState::kQueued);
  });
  if (waiting < kind.max_waiting()) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(
                        absl::StrCat("too many ", engine::ToAbsl(kind.name()),
                                     " jobs are waiting (limit ", kind.max_waiting(), ")")),
                    "TOO_MANY_JOBS");
}

std::string JobQueue::NewId(const JobKind& kind) const {
  std::string id;
  do {
    id = absl::StrFormat("%s-%08x", std::string(kind.id_prefix()),
                         static_cast<uint32_t>(engine::RandomNumber()));
  } while (jobs_.contains(JobKey(kind.name(), id)));
  return id;
}

absl::StatusOr<Job> JobQueue::Get(std::string_view kind, std::string_view id) const {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const EntryPtr entry, Find(kind, id));
  return Snapshot(*entry);
}

std::vector<Job> JobQueue::List(std::string_view kind) const {
  engine::MutexLock lock(mutex_);
  std::vector<Job> list;
  for (const auto& [key, entry] : jobs_) {
    if (entry->job.kind == kind) list.push_back(entry->job);
  }
  SetPositions(list);
  std::ranges::sort(list, {}, &Job::number);
  return list;
}

std::vector<Job> JobQueue::Latest(size_t limit) const {
  engine::MutexLock lock(mutex_);
  std::vector<const Job*> order;
  for (const auto& [key, entry] : jobs_) order.push_back(&entry->job);
  const auto end = order.begin() + static_cast<ptrdiff_t>(std::min(limit, order.size()));
  std::ranges::partial_sort(order, end, {}, [](const Job* job) {
    const bool ended = HasEnded(job->state);
    return std::pair(ended, ended ? -job->number : job->number);
  });
  std::vector<Job> list;
  for (auto job = order.begin(); job != end; ++job) list.push_back(**job);
  SetPositions(list);
  return list;
}

void JobQueue::SetPositions(std::vector<Job>& list) const {
  int32_t position = 0;
  std::map<std::string, std::pair<int32_t, std::string>> waiting;  // by uid
  for (const EntryPtr& entry : QueuedInOrder()) {
    waiting[entry->job.uid] = {++position, entry->waits_for};
  }
  for (Job& job : list) {
    if (const auto found = waiting.find(job.uid); found != waiting.end()) {
      std::tie(job.position, job.waits_for) = found->second;
    }
  }
}

absl::StatusOr<Job> JobQueue::Cancel(std::string_view kind, std::string_view id,
                                     std::string_view etag) {
  const auto cancel = [this](Job& job) -> absl::Status {
    switch (job.state) {
      case JobState::kValidating:
      case JobState::kQueued:
      case JobState::kPaused:
        End(job, JobState::kCancelled, "cancelled by a client", options_.clock());
        job.error.reset();
        return absl::OkStatus();
      case JobState::kRunning:
      case JobState::kPausing:
        SetState(job, JobState::kCancelling, "cancelled by a client");
        return absl::OkStatus();
      case JobState::kCancelling:
      case JobState::kCancelled:
        return absl::OkStatus();
      case JobState::kSucceeded:
      case JobState::kFailed:
        break;
    }
    return WrongState(job, "one that has not ended");
  };
  return Update(kind, id, etag, StopRequest::kCancel, cancel);
}

absl::StatusOr<Job> JobQueue::Pause(std::string_view kind, std::string_view id,
                                    std::string_view etag) {
  const auto pause = [](Job& job) -> absl::Status {
    switch (job.state) {
      case JobState::kValidating:
      case JobState::kQueued:
        SetState(job, JobState::kPaused, "paused by a client");
        job.next_attempt_time.reset();
        return absl::OkStatus();
      case JobState::kRunning:
        SetState(job, JobState::kPausing, "paused by a client");
        return absl::OkStatus();
      case JobState::kPausing:
      case JobState::kPaused:
        return absl::OkStatus();
      default:
        return WrongState(job, "queued or running");
    }
  };
  return Update(kind, id, etag, StopRequest::kPause, pause);
}

absl::StatusOr<Job> JobQueue::Resume(std::string_view kind, std::string_view id,
                                     std::string_view etag) {
  const auto resume = [](Job& job) -> absl::Status {
    switch (job.state) {
      case JobState::kFailed:
        if (!job.can_resume()) break;
        ++job.attempt;
        [[fallthrough]];
      case JobState::kPaused:
        SetState(job, job.prepared ? JobState::kQueued : JobState::kValidating,
                 "resumed by a client");
        job.failures = 0;
        job.error.reset();
        job.end_time.reset();
        job.next_attempt_time.reset();
        return absl::OkStatus();
      case JobState::kValidating:
      case JobState::kQueued:
      case JobState::kRunning:
        return absl::OkStatus();
      default:
        break;
    }
    return WrongState(job, "paused, or failed after its validation");
  };
  return Update(kind, id, etag, StopRequest::kNone, resume);
}

absl::StatusOr<Job> JobQueue::Update(std::string_view kind, std::string_view id,
                                     std::string_view etag, StopRequest stop, Change change) {
  EntryPtr entry;
  absl::StatusOr<Job> job;
  {
    engine::MutexLock commit(commit_mutex_);
    {
      engine::MutexLock lock(mutex_);
      ASSIGN_OR_RETURN(entry, Find(kind, id));
      RETURN_IF_ERROR(CheckEtag(entry->job, etag));
    }
    job = Apply(entry, change);
    RETURN_IF_ERROR(job.status());
    engine::MutexLock lock(mutex_);
    entry->stop = std::max(entry->stop, stop);
    if (!IsRunning(entry->job.state) && entry->ledger == nullptr) entry->stop = StopRequest::kNone;
  }
  NotifyWatchers(entry);
  return job;
}

absl::Status JobQueue::Delete(std::string_view kind, std::string_view id, std::string_view etag) {
  EntryPtr entry;
  {
    engine::MutexLock commit(commit_mutex_);
    {
      engine::MutexLock lock(mutex_);
      ASSIGN_OR_RETURN(entry, Find(kind, id));
      const Job& job = entry->job;
      RETURN_IF_ERROR(CheckEtag(job, etag));
      if (!HasEnded(job.state) && job.state != JobState::kPaused) {
        return WrongState(job, "one that is paused or has ended");
      }
    }
    RETURN_IF_ERROR(Erase(entry));
  }
  KindOf(entry->job).RemoveFiles(entry->job.uid);
  NotifyWatchers(entry);
  return absl::OkStatus();
}

absl::Status JobQueue::Erase(const EntryPtr& entry) {
  std::vector<Write> writes = {DeleteRecord{Collection::kJobs, entry->key, 0},
                               DeleteEvents{entry->job.uid}};
  for (int i = 0; i < kCollectionCount; ++i) {
    writes.push_back(DeleteChildren{static_cast<Collection>(i), entry->job.uid});
  }
  RETURN_IF_ERROR(Commit(writes).status());
  {
    engine::MutexLock lock(mutex_);
    jobs_.erase(entry->key);
    entry->deleted = true;
    if (observer_ != nullptr) observer_->OnDeleted(entry->job);
  }
  return absl::OkStatus();
}

absl::StatusOr<JobEvents> JobQueue::Events(std::string_view kind, std::string_view id,
                                           int64_t after, int limit) const {
  ASSIGN_OR_RETURN(std::optional<JobEvents> recent, RecentEvents(kind, id, after, limit));
  if (recent) return *std::move(recent);
  Job job;
  bool closed = false;
  {
    engine::MutexLock lock(mutex_);
    ASSIGN_OR_RETURN(const EntryPtr entry, Find(kind, id));
    job = entry->job;
    closed = closed_;
  }
  ASSIGN_OR_RETURN(const std::vector<StoredEvent> stored,
                   store_->Events(job.uid, after, limit + 1));
  JobEvents page;
  page.has_ended = HasEnded(job.state);
  page.closed = closed && !IsRunning(job.state);
  page.more = std::ssize(stored) > limit;
  for (const StoredEvent& event : stored) {
    if (std::ssize(page.events) == limit) break;
    ASSIGN_OR_RETURN(JobEvent parsed, ParseEvent(event));
    page.events.push_back(std::move(parsed));
  }
  return page;
}

absl::StatusOr<std::optional<JobEvents>> JobQueue::RecentEvents(std::string_view kind,
                                                                std::string_view id, int64_t after,
                                                                int limit) const {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const EntryPtr entry, Find(kind, id));
  const std::deque<JobEvent>& recent = entry->recent;
  const bool from_start = entry->recent_after >= 0 && after >= entry->recent_after;
  const bool from_recent = !recent.empty() && after >= recent.front().id;
  if (!from_start && !from_recent) return std::nullopt;
  const auto first = std::ranges::upper_bound(recent, after, {}, &JobEvent::id);
  const auto count = std::min<ptrdiff_t>(recent.end() - first, limit);
  JobEvents page;
  page.events.assign(first, first + count);
  page.more = first + count != recent.end();
  page.has_ended = HasEnded(entry->job.state);
  page.closed = closed_ && !IsRunning(entry->job.state);
  return page;
}

absl::Status JobQueue::Watch(std::string_view kind, std::string_view id,
                             const std::shared_ptr<JobWatcher>& watcher) {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const EntryPtr entry, Find(kind, id));
  std::erase_if(entry->watchers, [](const auto& other) { return other.expired(); });
  if (entry->watchers.size() >= kMaxWatchers) {
    return WithReason(
        absl::ResourceExhaustedError(
            absl::StrCat("too many watches of job ", entry->job.id, " (limit ", kMaxWatchers, ")")),
        "TOO_MANY_WATCHES");
  }
  entry->watchers.push_back(watcher);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Record>> JobQueue::Children(const Job& job,
                                                       Collection collection) const {
  return store_->Children(collection, job.uid);
}

bool JobQueue::AnyUnfinished(absl::FunctionRef<bool(const Job&)> predicate) const {
  engine::MutexLock lock(mutex_);
  return std::ranges::any_of(jobs_, [&](const auto& named) {
    const Job& job = named.second->job;
    return !HasEnded(job.state) && predicate(job);
  });
}

int64_t JobQueue::available_bytes() const {
  if (ledger_->limit() == 0) return 0;
  const int64_t taken =
      ledger_->used(engine::Purpose::kWeights) + ledger_->used(engine::Purpose::kWorkspace);
  return std::max<int64_t>(ledger_->limit() - taken, 1);
}

// Changes.

absl::StatusOr<Committed> JobQueue::Commit(const std::vector<Write>& writes) {
  absl::StatusOr<Committed> committed = store_->Commit(writes);
  const bool conflicts = absl::IsNotFound(committed.status()) ||
                         absl::IsAlreadyExists(committed.status()) ||
                         absl::IsAborted(committed.status());
  if (committed.ok() || conflicts) return committed;
  return StorageError(committed.status(), "the server could not record the change");
}

absl::StatusOr<Job> JobQueue::Apply(const EntryPtr& entry, Change change,
                                    std::vector<Write> writes) {
  Job job;
  std::vector<JobEvent> events;
  {
    engine::MutexLock lock(mutex_);
    if (entry->deleted) return JobNotFound(entry->job.kind, entry->job.id);
    job = entry->job;
    events = entry->waiting;
  }
  const JobState before = job.state;
  const std::string value_before = JobValue(job);
  const size_t waited = events.size();
  RETURN_IF_ERROR(change(job));
  if (HasEnded(job.state) && !job.can_resume()) KindOf(job).TrimRequest(job.request);
  if (job.state != before) {
    events.push_back(StateEvent(job));
    ++job.changes;
  }
  std::string value = JobValue(job);
  if (value == value_before && events.empty() && writes.empty()) {
    engine::MutexLock lock(mutex_);
    return Snapshot(*entry);
  }
  writes.push_back(UpdateRecord{Collection::kJobs, entry->key, std::move(value), job.revision});
  for (const JobEvent& event : events) writes.push_back(AppendEvent{job.uid, EventValue(event)});
  ASSIGN_OR_RETURN(const Committed committed, Commit(writes));
  job.revision = committed.records.back().revision;
  // The writes of a kind may have events before ours.
  const size_t first = committed.events.size() - events.size();
  for (size_t i = 0; i < events.size(); ++i) {
    events[i].id = committed.events[first + i].id;
    events[i].time = committed.events[first + i].time;
  }
  job = Show(entry, std::move(job), before, std::move(events), waited);
  if (HasEnded(job.state)) ForgetOldest(KindOf(job));
  return job;
}

Job JobQueue::Show(const EntryPtr& entry, Job job, JobState before, std::vector<JobEvent> events,
                   size_t waited) {
  engine::MutexLock lock(mutex_);
  job.progress = entry->job.progress;  // which may be newer
  entry->job = job;
  if (job.state != before) {
    if (observer_ != nullptr) observer_->OnState(job, before);
    changed_ = true;
    wake_.NotifyAll();
    LogState(job);
  }
  Publish(*entry, std::move(events), waited);
  return Snapshot(*entry);
}

void JobQueue::ApplySurely(const EntryPtr& entry, Change change) {
  while (true) {
    absl::Status status;
    {
      engine::MutexLock commit(commit_mutex_);
      status = engine::CatchExceptions(
          [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return Apply(entry, change).status(); });
    }
    if (status.ok() || !MayPass(status)) break;
    LogLimited(LogLevel::kError, "a change of a job could not be recorded",
               {{"job", entry->key}, {"error", std::string(status.message())}});
    engine::MutexLock lock(mutex_);
    // The next start finds the job as it was, and its work as it is.
    if (closed_) break;
    const auto again = steady_clock::now() + kCommitRetry;
    while (!closed_ && wake_.WaitUntil(mutex_, again)) {
    }
  }
  NotifyWatchers(entry);
}

absl::Status JobQueue::FlushEvents() {
  std::vector<EntryPtr> entries;
  {
    engine::MutexLock commit(commit_mutex_);
    std::vector<Write> writes;
    std::vector<std::vector<JobEvent>> events;
    {
      engine::MutexLock lock(mutex_);
      for (const auto& [key, entry] : jobs_) {
        if (entry->waiting.empty()) continue;
        entries.push_back(entry);
        events.push_back(entry->waiting);
        for (const JobEvent& event : entry->waiting) {
          writes.push_back(AppendEvent{entry->job.uid, EventValue(event)});
        }
      }
    }
    if (writes.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Committed committed, store_->Commit(writes));
    engine::MutexLock lock(mutex_);
    size_t next = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
      for (JobEvent& event : events[i]) {
        event.id = committed.events[next].id;
        event.time = committed.events[next++].time;
      }
      const size_t count = events[i].size();
      Publish(*entries[i], std::move(events[i]), count);
    }
  }
  for (const EntryPtr& entry : entries) NotifyWatchers(entry);
  return absl::OkStatus();
}

void JobQueue::Publish(Entry& entry, std::vector<JobEvent> events, size_t waited) {
  entry.waiting.erase(entry.waiting.begin(),
                      entry.waiting.begin() + static_cast<ptrdiff_t>(waited));
  for (JobEvent& event : events) {
    if (observer_ != nullptr) observer_->OnEvent(entry.job, event);
    entry.recent.push_back(std::move(event));
  }
  while (entry.recent.size() > kRecentEvents) {
    entry.recent_after = entry.recent.front().id;
    entry.recent.pop_front();
  }
}

void JobQueue::NotifyWatchers(const EntryPtr& entry) {
  std::vector<std::shared_ptr<JobWatcher>> watchers;
  {
    engine::MutexLock lock(mutex_);
    for (const auto& weak : entry->watchers) {
      if (auto watcher = weak.lock()) watchers.push_back(std::move(watcher));
    }
  }
  for (const auto& watcher : watchers) {
    RunGuarded("jobs", [&] { watcher->OnJobChanged(); });
  }
}

// Preparing.

void JobQueue::PrepareLoop() {
  BeNice();
  while (true) {
    EntryPtr entry;
    {
      engine::MutexLock lock(mutex_);
      while (!closed_ && (entry = NextToPrepare()) == nullptr) {
        wake_.WaitUntil(mutex_, steady_clock::now() + options_.flush_interval);
      }
      if (closed_) return;
    }
    RunGuarded("jobs", [&] { Prepare(entry); });
  }
}

JobQueue::EntryPtr JobQueue::NextToPrepare() {
  EntryPtr next;
  for (const auto& [key, entry] : jobs_) {
    const Job& job = entry->job;
    if (job.state != JobState::kValidating) continue;
    if (job.next_attempt_time && *job.next_attempt_time > options_.clock()) continue;
    if (next == nullptr || entry->job.number < next->job.number) next = entry;
  }
  return next;
}

void JobQueue::Prepare(const EntryPtr& entry) {
  Job job;
  engine::Ledger ledger(available_bytes(), ledger_, engine::Purpose::kJobs);
  {
    engine::MutexLock lock(mutex_);
    if (entry->job.state != JobState::kValidating) return;
    job = entry->job;
    entry->stop = closed_ ? StopRequest::kShutDown : StopRequest::kNone;
    entry->ledger = &ledger;
  }
  Run run(this, entry, &ledger);
  Preparation preparation;
  const absl::Status status =
      engine::CatchExceptions([&] { return KindOf(job).Prepare(job, run, preparation); });
  {
    engine::MutexLock lock(mutex_);
    entry->ledger = nullptr;
    entry->stop = StopRequest::kNone;
    // The job was paused or cancelled, or the server stops.
    if (entry->job.state != JobState::kValidating || absl::IsCancelled(status)) return;
  }
  ApplySurely(entry, [&](Job& changed) {
    if (changed.state != JobState::kValidating) return absl::OkStatus();
    changed.details = preparation.details;
    changed.next_attempt_time.reset();
    if (!status.ok()) {
      RetryOrFail(changed, status);
      return absl::OkStatus();
    }
    changed.error.reset();
    changed.failures = 0;
    changed.prepared = true;
    changed.bytes = preparation.bytes;
    SetState(changed, JobState::kQueued, "");
    return absl::OkStatus();
  });
}

// Running.

void JobQueue::DispatchLoop() {
  auto next_flush = steady_clock::now() + options_.flush_interval;
  auto next_beat = steady_clock::now();
  while (true) {
    {
      engine::MutexLock lock(mutex_);
      while (!changed_ && !stopping_ && wake_.WaitUntil(mutex_, next_flush)) {
      }
      if (stopping_) break;
      changed_ = false;
    }
    RunGuarded("jobs", [&] { StartJobs(); });
    const auto now = steady_clock::now();
    if (now >= next_flush) {
      next_flush = now + options_.flush_interval;
      RunGuarded("jobs", [&] { LogStoreError(FlushEvents()); });
    }
    if (now >= next_beat) {
      next_beat = now + options_.heartbeat_interval;
      RunGuarded("jobs", [&] { SendHeartbeats(); });
    }
  }
}

void JobQueue::StartJobs() {
  std::vector<EntryPtr> queue;
  {
    engine::MutexLock lock(mutex_);
    if (closed_) return;
    queue = QueuedInOrder();
  }
  // A job that waits for memory keeps it from those after it. One that waits for its next attempt,
  // or for another job of its kind, does not.
  bool blocked = false;
  int before = 0;
  for (const EntryPtr& entry : queue) {
    ++before;
    if (blocked) {
      SetWaitsFor(entry,
                  before == 2 ? "1 job before it" : absl::StrCat(before - 1, " jobs before it"));
      continue;
    }
    bool holds_up = false;
    std::string waits_for = TryStart(entry, holds_up);
    if (waits_for.empty()) --before;
    blocked = holds_up;
    SetWaitsFor(entry, std::move(waits_for));
  }
}

std::string JobQueue::TryStart(const EntryPtr& entry, bool& holds_up) {
  Job job;
  {
    engine::MutexLock lock(mutex_);
    job = entry->job;
    if (job.state != JobState::kQueued) return "";
    if (job.next_attempt_time && *job.next_attempt_time > options_.clock()) {
      return "the time of its next attempt";
    }
    const JobKind& kind = KindOf(job);
    if (RunningOf(kind) >= kind.max_running()) {
      return absl::StrCat("another ", engine::ToAbsl(kind.name()), " job that runs");
    }
    const auto running = std::ranges::count_if(
        jobs_, [](const auto& named) { return IsRunning(named.second->job.state); });
    if (running >= options_.max_running) {
      holds_up = true;
      return absl::StrCat("a free place: ", running, " jobs run, which is the limit");
    }
  }
  // What is in the way of a reservation is asked to make room, so it is only tried if there can be.
  const int64_t free = available_bytes() - ledger_->used(engine::Purpose::kJobs);
  if (job.bytes > available_bytes() && ledger_->limit() > 0) {
    return absl::StrCat(engine::ToAbsl(engine::HumanBytes(job.bytes)),
                        " of memory, which is more than there is beside the models");
  }
  absl::StatusOr<engine::Reservation> reservation = absl::ResourceExhaustedError("");
  if (job.bytes <= free || ledger_->limit() == 0)
    reservation = ledger_->Reserve(job.bytes, engine::Purpose::kJobs, absl::StrCat("job ", job.id));
  if (!reservation.ok()) {
    holds_up = true;
    return absl::StrCat(engine::ToAbsl(engine::HumanBytes(job.bytes)),
                        " of memory: ", engine::ToAbsl(engine::HumanBytes(ledger_->used())), " of ",
                        engine::ToAbsl(engine::HumanBytes(ledger_->limit())), " are in use");
  }
  {
    engine::MutexLock commit(commit_mutex_);
    const absl::StatusOr<Job> started = Apply(entry, [this](Job& changed) -> absl::Status {
      if (changed.state != JobState::kQueued) return WrongState(changed, "queued");
      SetState(changed, JobState::kRunning, "");
      if (!changed.start_time) changed.start_time = options_.clock();
      changed.next_attempt_time.reset();
      return absl::OkStatus();
    });
    if (!started.ok()) {
      holds_up = !absl::IsFailedPrecondition(started.status());
      return holds_up ? "the server's disk" : "";
    }
    engine::MutexLock lock(mutex_);
    entry->stop = closed_ ? StopRequest::kShutDown : StopRequest::kNone;
  }
  NotifyWatchers(entry);
  Launch(entry, *std::move(reservation));
  return "";
}

void JobQueue::Launch(const EntryPtr& entry, engine::Reservation reservation) {
  // Shared, because a std::function can be copied.
  const auto held = std::make_shared<engine::Reservation>(std::move(reservation));
  const absl::Status launched = runs_->Run(
      [this, entry, held] {
        const absl::StatusOr<json> result = RunJob(entry);
        *held = engine::Reservation();  // before others see that the job has ended
        EndRun(entry, result);
        return absl::OkStatus();
      },
      [this, entry](const absl::Status& status) {
        if (!status.ok()) EndRun(entry, status);  // an exception, for lack of memory
      });
  if (launched.ok()) return;
  *held = engine::Reservation();
  EndRun(entry, launched);
}

int JobQueue::RunningOf(const JobKind& kind) const {
  return static_cast<int>(std::ranges::count_if(jobs_, [&](const auto& named) {
    return named.second->job.kind == kind.name() && IsRunning(named.second->job.state);
  }));
}

void JobQueue::SetWaitsFor(const EntryPtr& entry, std::string text) {
  {
    engine::MutexLock lock(mutex_);
    if (entry->waits_for == text) return;
    entry->waits_for = std::move(text);
  }
  NotifyWatchers(entry);
}

absl::StatusOr<json> JobQueue::RunJob(const EntryPtr& entry) {
  BeNice();
  Job job;
  std::optional<engine::Ledger> own;
  engine::Ledger* ledger = ledger_;
  {
    engine::MutexLock lock(mutex_);
    job = entry->job;
    if (job.bytes > 0) ledger = &own.emplace(job.bytes);
    entry->ledger = ledger;
  }
  absl::StatusOr<json> result = engine::CatchExceptions([&] {
    Run run(this, entry, ledger);
    return KindOf(job).Run(job, run);
  });
  engine::MutexLock lock(mutex_);
  entry->ledger = nullptr;
  return result;
}

void JobQueue::EndRun(const EntryPtr& entry, const absl::StatusOr<json>& result) {
  bool stopped = absl::IsCancelled(result.status());
  {
    engine::MutexLock lock(mutex_);
    stopped = stopped && entry->stop != StopRequest::kNone;
    entry->stop = StopRequest::kNone;
  }
  RunGuarded("jobs", [&] { store_->EndBeat(entry->job.uid).IgnoreError(); });
  ApplySurely(entry, [&](Job& job) {
    if (result.ok()) {
      job.result = *result;
      job.error.reset();
      End(job, JobState::kSucceeded, "", options_.clock());
    } else if (job.state == JobState::kCancelling) {
      End(job, JobState::kCancelled, job.reason, options_.clock());
      job.error.reset();
    } else if (stopped && job.state == JobState::kPausing) {
      SetState(job, JobState::kPaused, job.reason);
    } else if (stopped) {
      SetState(job, JobState::kQueued, kServerStopped);
    } else {
      const bool pauses = job.state == JobState::kPausing;
      RetryOrFail(job, result.status());
      if (pauses && job.state == JobState::kQueued) job.state = JobState::kPaused;
    }
    return absl::OkStatus();
  });
}

void JobQueue::RetryOrFail(Job& job, const absl::Status& status) const {
  job.error = ToJobError(status);
  ++job.failures;
  if (!KindOf(job).IsTemporary(status) || job.failures >= kMaxFailures) {
    return End(job, JobState::kFailed, job.error->message, options_.clock());
  }
  const auto backoff = std::min(options_.first_backoff * (int64_t{1} << (job.failures - 1)),
                                options_.longest_backoff);
  SetState(job, job.prepared ? JobState::kQueued : JobState::kValidating,
           absl::StrCat("attempt ", job.attempt, " failed: ", job.error->message));
  job.next_attempt_time = options_.clock() + backoff;
  ++job.attempt;
}

void JobQueue::SendHeartbeats() {
  std::vector<std::pair<std::string, std::string>> beats;
  {
    engine::MutexLock lock(mutex_);
    for (const auto& [key, entry] : jobs_) {
      if (IsRunning(entry->job.state)) {
        beats.emplace_back(entry->job.uid, entry->job.progress.stage);
      }
    }
  }
  for (const auto& [uid, stage] : beats) LogStoreError(store_->Beat(uid, stage));
}

void JobQueue::ForgetOldest(const JobKind& kind) {
  std::vector<EntryPtr> ended;
  {
    engine::MutexLock lock(mutex_);
    for (const auto& [key, entry] : jobs_) {
      if (entry->job.kind == kind.name() && HasEnded(entry->job.state)) ended.push_back(entry);
    }
  }
  std::ranges::sort(ended, {}, [](const EntryPtr& entry) {
    return std::pair(entry->job.end_time, entry->job.number);
  });
  for (int64_t i = 0; i < std::ssize(ended) - kind.max_ended(); ++i) {
    LogStoreError(Erase(ended[i]));
    KindOf(ended[i]->job).RemoveFiles(ended[i]->job.uid);
  }
}

// Helpers.

absl::StatusOr<JobQueue::EntryPtr> JobQueue::Find(std::string_view kind,
                                                  std::string_view id) const {
  const auto found = jobs_.find(JobKey(kind, id));
  if (found != jobs_.end()) return found->second;
  return JobNotFound(kind, id);
}

JobKind* JobQueue::FindKind(std::string_view name) const {
  const auto found =
      std::ranges::find_if(kinds_, [&](const auto& kind) { return kind->name() == name; });
  return found != kinds_.end() ? found->get() : nullptr;
}

Job JobQueue::Snapshot(const Entry& entry) const {
  Job job = entry.job;
  if (job.state != JobState::kQueued) return job;
  job.waits_for = entry.waits_for;
  for (const EntryPtr& other : QueuedInOrder()) {
    ++job.position;
    if (other.get() == &entry) break;
  }
  return job;
}

std::vector<JobQueue::EntryPtr> JobQueue::QueuedInOrder() const {
  std::vector<EntryPtr> queue;
  for (const auto& [key, entry] : jobs_) {
    if (entry->job.state == JobState::kQueued) queue.push_back(entry);
  }
  std::ranges::sort(queue, {}, [](const EntryPtr& entry) {
    return std::pair(-int64_t{entry->job.priority}, entry->job.number);
  });
  return queue;
}

void JobQueue::Close() {
  std::vector<EntryPtr> entries;
  {
    engine::MutexLock lock(mutex_);
    if (std::exchange(closed_, true)) return;
    for (const auto& [key, entry] : jobs_) {
      if (entry->stop == StopRequest::kNone) entry->stop = StopRequest::kShutDown;
      if (!HasEnded(entry->job.state)) entries.push_back(entry);
    }
    wake_.NotifyAll();
  }
  for (const EntryPtr& entry : entries) {
    if (!options_.durable) RunGuarded("jobs", [&] { CancelForStop(entry); });
    NotifyWatchers(entry);
  }
}

void JobQueue::CancelForStop(const EntryPtr& entry) {
  engine::MutexLock commit(commit_mutex_);
  LogStoreError(Apply(entry, [this](Job& job) {
                  const bool runs = IsRunning(job.state);
                  if (runs) SetState(job, JobState::kCancelling, kShuttingDown);
                  if (!runs && !HasEnded(job.state)) {
                    End(job, JobState::kCancelled, kShuttingDown, options_.clock());
                  }
                  return absl::OkStatus();
                }).status());
}

void JobQueue::Stop() {
  Close();
  engine::MutexLock lock(stop_mutex_);
  {
    engine::MutexLock state(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (dispatcher_.joinable()) dispatcher_.join();
  if (preparer_.joinable()) preparer_.join();
  runs_.reset();  // waits for the runs
  RunGuarded("jobs", [&] { LogStoreError(FlushEvents()); });
}

}  // namespace whipsnake::server
