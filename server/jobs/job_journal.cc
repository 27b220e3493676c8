#include "server/jobs/job_journal.h"

#include <chrono>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/disk_errors.h"
#include "server/errors.h"
#include "server/guarded.h"
#include "server/jobs/job_transitions.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

constexpr int kRecordsAtOnce = 256;
// From a change that could not be committed to the next attempt.
constexpr std::chrono::milliseconds kCommitRetry{1000};

// Whether a change that could not be recorded may be recorded later: errors of the disk are.
bool MayPass(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ||
         absl::IsInternal(status) || absl::IsDataLoss(status);
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

// The job of a record, if it is one that its kind knows how to run.
absl::StatusOr<Job> ReadJob(const Record& record, const JobKinds& kinds) {
  ASSIGN_OR_RETURN(Job job, ParseJob(record));
  const JobKind* kind = kinds.Find(job.kind);
  if (kind == nullptr) {
    return absl::UnimplementedError(absl::StrCat("kind ", engine::Quoted(job.kind)));
  }
  if (!kind->IsValid(job.request)) {
    return absl::DataLossError("the request is not one of this kind");
  }
  return job;
}

// Adds the writes of events, and the inverse: gives them what the last ones of a commit have been
// given.
void AppendEvents(const std::string& stream, const std::vector<JobEvent>& events,
                  std::vector<Write>& writes) {
  for (const JobEvent& event : events) writes.push_back(AppendEvent{stream, EventValue(event)});
}
void TakeIds(const StoredEvent*& next, std::vector<JobEvent>& events) {
  for (JobEvent& event : events) {
    event.id = next->id;
    event.time = next->time;
    ++next;
  }
}

}  // namespace

void LogJournalError(const absl::Status& status) {
  if (status.ok()) return;
  LogLimited(LogLevel::kError, "the store of jobs failed",
             {{"error", std::string(status.message())}});
}

// Reading.

absl::StatusOr<JobJournal::StoredJobs> JobJournal::ReadJobs() {
  StoredJobs stored;
  int64_t after = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<Record> page,
                     store_.List(Collection::kJobs, after, kRecordsAtOnce));
    for (const Record& record : page) {
      absl::StatusOr<Job> job = ReadJob(record, kinds_);
      if (job.ok()) {
        stored.jobs.push_back(*std::move(job));
        continue;
      }
      stored.all_valid = false;
      LogDiskError("a job's record is not valid and is left alone", job.status(),
                   {{"key", record.key}});
    }
    if (std::ssize(page) < kRecordsAtOnce) return stored;
    after = page.back().number;
  }
}

absl::Status JobJournal::ReadEvents(const std::string& stream, int64_t after, int limit,
                                    JobEvents& page) {
  return StorageError(ReadStoredEvents(stream, after, limit, page),
                      "the server could not read the job's events");
}

absl::Status JobJournal::ReadStoredEvents(const std::string& stream, int64_t after, int limit,
                                          JobEvents& page) {
  ASSIGN_OR_RETURN(const std::vector<StoredEvent> stored, store_.Events(stream, after, limit + 1));
  page.more = std::ssize(stored) > limit;
  for (const StoredEvent& event : stored) {
    if (std::ssize(page.events) == limit) break;
    ASSIGN_OR_RETURN(JobEvent parsed, ParseEvent(event));
    page.events.push_back(std::move(parsed));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Record>> JobJournal::Children(const Job& job, Collection collection) {
  absl::StatusOr<std::vector<Record>> children = store_.Children(collection, job.uid);
  if (children.ok()) return children;
  return StorageError(children.status(), "the server could not read the job's records");
}

// Changes.

absl::StatusOr<Committed> JobJournal::Commit(const std::vector<Write>& writes) {
  absl::StatusOr<Committed> committed = store_.Commit(writes);
  const bool conflicts = absl::IsNotFound(committed.status()) ||
                         absl::IsAlreadyExists(committed.status()) ||
                         absl::IsAborted(committed.status());
  if (committed.ok() || conflicts) return committed;
  return StorageError(committed.status(), "the server could not record the change");
}

absl::StatusOr<Job> JobJournal::Create(Job job) {
  engine::MutexLock commit(commit_mutex_);
  ASSIGN_OR_RETURN(std::optional<Job> existing, table_.Admit(job, kinds_.Of(job)));
  if (existing) return *std::move(existing);
  std::vector<JobEvent> events = {StateEvent(job)};
  std::vector<Write> writes = {
      CreateRecord{Collection::kJobs, JobKey(job.kind, job.id), /*parent=*/"", JobValue(job)}};
  AppendEvents(job.uid, events, writes);
  ASSIGN_OR_RETURN(const Committed committed, Commit(writes));
  job.number = committed.records.front().number;
  job.revision = committed.records.front().revision;
  job.create_time = committed.records.front().create_time;
  const StoredEvent* stored = committed.events.data();
  TakeIds(stored, events);
  LogState(job);
  return table_.InsertNew(std::move(job), std::move(events.front()));
}

absl::StatusOr<Job> JobJournal::Apply(const JobEntryPtr& entry, Change change) {
  absl::StatusOr<Job> job;
  std::vector<JobEntryPtr> forgotten;
  {
    engine::MutexLock commit(commit_mutex_);
    job = ApplyLocked(entry, change, {});
    if (job.ok() && HasEnded(job->state)) forgotten = ForgetOldest(kinds_.Of(*job));
  }
  if (job.ok()) entry->watchers().Notify();
  for (const JobEntryPtr& old : forgotten) AfterErasure(old, kinds_.Of(*job));
  return job;
}

absl::StatusOr<Job> JobJournal::ApplyLocked(const JobEntryPtr& entry, Change change,
                                            std::vector<Write> writes) {
  ASSIGN_OR_RETURN(JobTable::Draft draft, table_.DraftOf(entry));
  Job& job = draft.job;
  const JobState before = job.state;
  const std::string value_before = JobValue(job);
  RETURN_IF_ERROR(change(job));
  JobKind& kind = kinds_.Of(job);
  if (HasEnded(job.state) && !job.can_resume()) kind.TrimRequest(job.request);
  std::vector<JobEvent> events = std::move(draft.waiting);
  const size_t waited = events.size();
  if (job.state != before) {
    events.push_back(StateEvent(job));
    ++job.changes;
  }
  std::string value = JobValue(job);
  if (value == value_before && events.empty() && writes.empty()) return table_.Read(entry);
  writes.push_back(UpdateRecord{Collection::kJobs, entry->key(), std::move(value), job.revision});
  AppendEvents(entry->uid(), events, writes);
  ASSIGN_OR_RETURN(const Committed committed, Commit(writes));
  job.revision = committed.records.back().revision;
  // The writes of a kind may have events before ours.
  const StoredEvent* stored = committed.events.data() + committed.events.size() - events.size();
  TakeIds(stored, events);
  if (job.state != before) LogState(job);
  return table_.Publish(entry, std::move(job), std::move(events), waited);
}

void JobJournal::ApplyUntilDurable(const JobEntryPtr& entry, Change change) {
  while (true) {
    const absl::Status status =
        engine::CatchExceptions([&] { return Apply(entry, change).status(); });
    if (status.ok() || !MayPass(status)) return;
    LogLimited(LogLevel::kError, "a change of a job could not be recorded",
               {{"job", entry->key()}, {"error", std::string(status.message())}});
    if (!table_.WaitUnlessClosed(kCommitRetry)) return;
  }
}

absl::Status JobJournal::CommitProgress(const JobEntryPtr& entry, std::vector<Write> writes) {
  const auto count_from_here = [](Job& job) {
    job.failures = 0;
    return absl::OkStatus();
  };
  absl::Status status;
  {
    engine::MutexLock commit(commit_mutex_);
    status = ApplyLocked(entry, count_from_here, std::move(writes)).status();
  }
  entry->watchers().Notify();
  return status;
}

absl::Status JobJournal::SettleEvents() {
  absl::StatusOr<std::vector<JobTable::WaitingEvents>> settled;
  {
    engine::MutexLock commit(commit_mutex_);
    settled = SettleEventsLocked();
  }
  RETURN_IF_ERROR(settled.status());
  for (const auto& [entry, events] : *settled) entry->watchers().Notify();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JobTable::WaitingEvents>> JobJournal::SettleEventsLocked() {
  std::vector<JobTable::WaitingEvents> waiting = table_.Waiting();
  if (waiting.empty()) return waiting;
  std::vector<Write> writes;
  for (const auto& [entry, events] : waiting) AppendEvents(entry->uid(), events, writes);
  ASSIGN_OR_RETURN(const Committed committed, store_.Commit(writes));
  const StoredEvent* stored = committed.events.data();
  for (auto& [entry, events] : waiting) {
    TakeIds(stored, events);
    table_.PublishEvents(entry, std::move(events));
  }
  return waiting;
}

absl::Status JobJournal::Erase(const JobEntryPtr& entry,
                               absl::FunctionRef<absl::Status(const Job&)> check) {
  JobKind* kind = nullptr;
  {
    engine::MutexLock commit(commit_mutex_);
    ASSIGN_OR_RETURN(const JobTable::Draft draft, table_.DraftOf(entry));
    RETURN_IF_ERROR(check(draft.job));
    RETURN_IF_ERROR(EraseLocked(entry));
    kind = &kinds_.Of(draft.job);
  }
  AfterErasure(entry, *kind);
  return absl::OkStatus();
}

absl::Status JobJournal::EraseLocked(const JobEntryPtr& entry) {
  std::vector<Write> writes = {DeleteRecord{Collection::kJobs, entry->key(), 0},
                               DeleteEvents{entry->uid()}};
  for (int i = 0; i < kCollectionCount; ++i) {
    writes.push_back(DeleteChildren{static_cast<Collection>(i), entry->uid()});
  }
  RETURN_IF_ERROR(Commit(writes).status());
  table_.Erase(entry);
  return absl::OkStatus();
}

std::vector<JobEntryPtr> JobJournal::ForgetOldest(JobKind& kind) {
  std::vector<JobEntryPtr> forgotten;
  for (const JobEntryPtr& entry : table_.EndedBefore(kind.name(), kind.max_ended())) {
    // A job whose record stays, for which the error is logged, keeps its files.
    if (EraseLocked(entry).ok()) forgotten.push_back(entry);
  }
  return forgotten;
}

void JobJournal::AfterErasure(const JobEntryPtr& entry, JobKind& kind) {
  entry->watchers().Notify();
  RunGuarded("jobs", [&] { files_.Remove(kind, entry->uid()); });
}

// Heartbeats.

absl::StatusOr<std::map<std::string, Heartbeat>> JobJournal::ReadHeartbeats() {
  ASSIGN_OR_RETURN(std::vector<Heartbeat> beats, store_.Heartbeats());
  std::map<std::string, Heartbeat> by_uid;
  for (Heartbeat& beat : beats) by_uid.emplace(beat.key, beat);
  return by_uid;
}

void JobJournal::Beat() {
  for (const Job& job : table_.Running()) {
    LogJournalError(store_.Beat(job.uid, job.progress.stage));
  }
}

void JobJournal::EndBeat(const JobEntryPtr& entry) {
  RunGuarded("jobs", [&] { LogJournalError(store_.EndBeat(entry->uid())); });
}

}  // namespace whipsnake::server
