#include "server/jobs/job_queue.h"

#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "server/guarded.h"

namespace whipsnake::server {

JobQueue::JobQueue(Store* store, engine::Ledger* ledger,
                   std::vector<std::unique_ptr<JobKind>> kinds, JobObserver* observer,
                   JobQueueOptions options)
    : ledger_(ledger),
      kinds_(std::move(kinds)),
      options_(std::move(options)),
      table_(observer, options_.max_jobs),
      journal_(store, &table_, &kinds_, &files_),
      preparer_(&table_, &journal_, &kinds_, ledger, &options_),
      dispatcher_(&table_, &journal_, &kinds_, ledger, &options_) {}

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
  ASSIGN_OR_RETURN(JobJournal::StoredJobs stored, journal_.ReadJobs());
  for (const auto& kind : kinds_.all()) {
    std::set<std::string> uids;
    for (const Job& job : stored.jobs) {
      if (job.kind == kind->name()) uids.insert(job.uid);
    }
    if (stored.all_valid) kind->Sweep(uids);
  }
  ASSIGN_OR_RETURN(const auto heartbeats, journal_.ReadHeartbeats());
  for (Job& job : stored.jobs) {
    const auto beat = heartbeats.find(job.uid);
    const auto last = beat != heartbeats.end() ? std::optional(beat->second) : std::nullopt;
    const JobEntryPtr entry = table_.InsertStored(std::move(job));
    RETURN_IF_ERROR(Recover(entry, CrashError(last)));
    journal_.EndBeat(entry);
  }
  return absl::OkStatus();
}

absl::Status JobQueue::Recover(const JobEntryPtr& entry, const absl::Status& crash) {
  const Job found = table_.Read(entry);
  if (!IsRunning(found.state)) return absl::OkStatus();
  const Retry retry = options_.RetryNow(kinds_.Of(found).IsTemporary(crash));
  return journal_
      .Apply(entry,
             [&](Job& job) {
               RecoverJob(job, crash, retry);
               return absl::OkStatus();
             })
      .status();
}

void JobQueue::Start() {
  preparer_.Start();
  dispatcher_.Start();
}

absl::StatusOr<Job> JobQueue::Create(const NewJob& request) {
  Job job;
  job.kind = request.kind;
  job.id = request.id;
  job.labels = request.labels;
  job.priority = request.priority;
  job.request = request.request;
  job.uid = absl::StrFormat("%016x", engine::RandomNumber());
  return journal_.Create(std::move(job));
}

absl::StatusOr<Job> JobQueue::Get(std::string_view kind, std::string_view id) const {
  return table_.Get(kind, id);
}

std::vector<Job> JobQueue::List(std::string_view kind, const JobSelection& selection) const {
  return table_.List(kind, selection);
}

std::vector<Job> JobQueue::Latest(size_t limit) const {
  const auto unfinished_first = [](const Job& job) {
    const bool ended = HasEnded(job.state);
    return JobSelection::Place(ended, ended ? -job.number : job.number);
  };
  return table_.List(std::nullopt, {.place = unfinished_first, .limit = limit});
}

absl::StatusOr<Job> JobQueue::Cancel(std::string_view kind, std::string_view id,
                                     std::string_view etag) {
  return Update(kind, id, etag, [this](Job& job) { return CancelJob(job, options_.clock()); });
}

absl::StatusOr<Job> JobQueue::Pause(std::string_view kind, std::string_view id,
                                    std::string_view etag) {
  return Update(kind, id, etag, PauseJob);
}

absl::StatusOr<Job> JobQueue::Resume(std::string_view kind, std::string_view id,
                                     std::string_view etag) {
  return Update(kind, id, etag, ResumeJob);
}

absl::StatusOr<Job> JobQueue::Update(std::string_view kind, std::string_view id,
                                     std::string_view etag, JobJournal::Change change) {
  ASSIGN_OR_RETURN(const JobEntryPtr entry, table_.Find(kind, id));
  return journal_.Apply(entry, [&](Job& job) -> absl::Status {
    RETURN_IF_ERROR(CheckEtag(job, etag));
    return change(job);
  });
}

absl::Status JobQueue::Delete(std::string_view kind, std::string_view id, std::string_view etag) {
  ASSIGN_OR_RETURN(const JobEntryPtr entry, table_.Find(kind, id));
  const auto check = [&](const Job& job) -> absl::Status {
    RETURN_IF_ERROR(CheckEtag(job, etag));
    return CheckDeletable(job);
  };
  return journal_.Erase(entry, check);
}

absl::StatusOr<JobEvents> JobQueue::Events(std::string_view kind, std::string_view id,
                                           int64_t after, int limit) const {
  ASSIGN_OR_RETURN(JobTable::RecentEvents recent, table_.Recent(kind, id, after, limit));
  if (!recent.complete) {
    RETURN_IF_ERROR(journal_.ReadEvents(recent.stream, after, limit, recent.page));
  }
  return std::move(recent.page);
}

absl::StatusOr<std::optional<JobEvents>> JobQueue::RecentEvents(std::string_view kind,
                                                                std::string_view id, int64_t after,
                                                                int limit) const {
  ASSIGN_OR_RETURN(JobTable::RecentEvents recent, table_.Recent(kind, id, after, limit));
  if (!recent.complete) return std::nullopt;
  return std::move(recent.page);
}

absl::Status JobQueue::Watch(std::string_view kind, std::string_view id,
                             const std::shared_ptr<JobWatcher>& watcher) {
  return table_.Watch(kind, id, watcher);
}

absl::StatusOr<std::vector<Record>> JobQueue::Children(const Job& job,
                                                       Collection collection) const {
  return journal_.Children(job, collection);
}

bool JobQueue::AnyUnfinished(absl::FunctionRef<bool(const Job&)> predicate) const {
  return table_.AnyUnfinished(predicate);
}

void JobQueue::Close() {
  if (!table_.Close()) return;
  const auto shut_down = [this](Job& job) {
    ShutDownJob(job, options_.clock());
    return absl::OkStatus();
  };
  for (const JobEntryPtr& entry : table_.Unfinished()) {
    if (!options_.durable) {
      RunGuarded("jobs", [&] { LogJournalError(journal_.Apply(entry, shut_down).status()); });
    }
    entry->watchers().Notify();
  }
}

void JobQueue::Stop() {
  Close();
  engine::MutexLock lock(stop_mutex_);
  table_.Stop();
  dispatcher_.Join();
  preparer_.Join();
  files_.Close();
  RunGuarded("jobs", [&] { LogJournalError(journal_.SettleEvents()); });
}

}  // namespace whipsnake::server
