#include "server/registry/quantization_jobs.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/guarded.h"
#include "server/logging.h"

namespace whipsnake::server {

using std::chrono::system_clock;

// All members are guarded by mutex_ of the jobs.
struct QuantizationJobs::Job {
  QuantizationSnapshot snapshot;
  QuantizationRequest request;   // cleared when the job runs or ends: it may hold megabytes
  std::string output_directory;  // which no other job may use
  absl::Status cancelled;        // set when the job has to end
  std::vector<std::weak_ptr<QuantizationWatcher>> watchers;
};

// A change of a job, to be sent to the watchers without the lock.
struct QuantizationJobs::Notice {
  QuantizationSnapshot snapshot;
  std::vector<std::shared_ptr<QuantizationWatcher>> watchers;

  // A watcher's failure does not affect the job.
  void Send() const {
    for (const auto& watcher : watchers) {
      RunGuarded("quantizations", [&] { watcher->OnSnapshot(snapshot); });
    }
  }
};

std::string_view Name(QuantizationState state) {
  switch (state) {
    case QuantizationState::kQueued:
      return "queued";
    case QuantizationState::kRunning:
      return "running";
    case QuantizationState::kSucceeded:
      return "succeeded";
    case QuantizationState::kFailed:
      return "failed";
    case QuantizationState::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

QuantizationJobs::QuantizationJobs(Quantizer quantizer, Metrics& metrics)
    : quantizer_(std::move(quantizer)), metrics_(metrics) {
  UpdateGauges();
  for (const auto end :
       {QuantizationState::kSucceeded, QuantizationState::kFailed, QuantizationState::kCancelled}) {
    metrics_.quantizations.With({std::string(Name(end))});
  }
  worker_ = std::thread(&QuantizationJobs::WorkLoop, this);
}

QuantizationJobs::~QuantizationJobs() { Stop(); }

absl::StatusOr<QuantizationSnapshot> QuantizationJobs::Create(QuantizationRequest request) {
  engine::MutexLock lock(mutex_);
  if (closed_) return DrainingError();
  int waiting = 0;
  for (const auto& [number, job] : jobs_) {
    if (HasEnded(job->snapshot.state)) continue;
    if (job->output_directory == request.output_directory) {
      return WithResource(
          WithReason(absl::AlreadyExistsError(
                         absl::StrCat("output_path: quantization ", job->snapshot.id, " is making ",
                                      engine::Quoted(request.output_path), " already")),
                     "OUTPUT_EXISTS"),
          "quantization", job->snapshot.id);
    }
    if (job->snapshot.state == QuantizationState::kQueued) ++waiting;
  }
  if (waiting >= kMaxWaiting) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                          "too many quantizations are waiting (limit ", kMaxWaiting, ")")),
                      "TOO_MANY_QUANTIZATIONS");
  }
  auto job = std::make_unique<Job>();
  job->snapshot.id = NewId();
  job->snapshot.number = ++last_number_;
  job->snapshot.version = 1;
  job->snapshot.path = request.path;
  job->snapshot.output_path = request.output_path;
  job->snapshot.scheme = request.options.recipe.scheme;
  job->snapshot.create_time = system_clock::now();
  job->output_directory = request.output_directory;
  job->request = std::move(request);
  const QuantizationSnapshot snapshot = job->snapshot;
  jobs_.emplace(snapshot.number, std::move(job));
  UpdateGauges();
  wake_.NotifyAll();
  return snapshot;
}

absl::StatusOr<QuantizationSnapshot> QuantizationJobs::Get(std::string_view id) const {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const Job* job, Find(id));
  return job->snapshot;
}

std::vector<QuantizationSnapshot> QuantizationJobs::List() const {
  engine::MutexLock lock(mutex_);
  std::vector<QuantizationSnapshot> list;
  for (auto job = jobs_.rbegin(); job != jobs_.rend(); ++job) list.push_back(job->second->snapshot);
  return list;
}

absl::Status QuantizationJobs::Watch(std::string_view id,
                                     const std::shared_ptr<QuantizationWatcher>& watcher) {
  QuantizationSnapshot snapshot;
  {
    engine::MutexLock lock(mutex_);
    ASSIGN_OR_RETURN(Job * job, Find(id));
    std::erase_if(job->watchers, [](const auto& other) { return other.expired(); });
    if (job->watchers.size() >= kMaxWatchers) {
      return WithReason(absl::ResourceExhaustedError(
                            absl::StrCat("too many watches of quantization ", job->snapshot.id,
                                         " (limit ", kMaxWatchers, ")")),
                        "TOO_MANY_WATCHES");
    }
    snapshot = job->snapshot;
    job->watchers.push_back(watcher);  // of an ended job too, so that it is counted
  }
  watcher->OnSnapshot(snapshot);
  return absl::OkStatus();
}

absl::StatusOr<QuantizationSnapshot> QuantizationJobs::Cancel(std::string_view id) {
  Notice notice;
  {
    engine::MutexLock lock(mutex_);
    ASSIGN_OR_RETURN(Job * job, Find(id));
    const QuantizationState state = job->snapshot.state;
    const absl::Status why = absl::CancelledError("cancelled by a client");
    switch (state) {
      case QuantizationState::kQueued:
        notice = End(*job, QuantizationState::kCancelled, why);
        break;
      case QuantizationState::kRunning:
        job->cancelled = why;
        return job->snapshot;
      case QuantizationState::kCancelled:
        return job->snapshot;
      case QuantizationState::kSucceeded:
      case QuantizationState::kFailed:
        return WithPrecondition(
            WithReason(absl::FailedPreconditionError(absl::StrCat(
                           "quantization ", job->snapshot.id, " has ", engine::ToAbsl(Name(state)),
                           ", expected queued or running")),
                       "QUANTIZATION_ENDED"),
            "QUANTIZATION_STATE", job->snapshot.id);
    }
  }
  notice.Send();
  return notice.snapshot;
}

void QuantizationJobs::Close() {
  const absl::Status why = absl::CancelledError("the server is shutting down");
  std::vector<Notice> notices;
  {
    engine::MutexLock lock(mutex_);
    if (std::exchange(closed_, true)) return;
    while (Job* job = NextQueued()) {
      notices.push_back(End(*job, QuantizationState::kCancelled, why));
    }
    for (const auto& [number, job] : jobs_) {
      if (job->snapshot.state == QuantizationState::kRunning) job->cancelled = why;
    }
    wake_.NotifyAll();
  }
  for (const Notice& notice : notices) notice.Send();
}

void QuantizationJobs::Stop() {
  Close();
  engine::MutexLock lock(stop_mutex_);
  if (worker_.joinable()) worker_.join();
}

void QuantizationJobs::WorkLoop() {
  bool more = true;
  while (more) RunGuarded("quantizations", [&] { more = RunNext(); });
}

bool QuantizationJobs::RunNext() {
  Job* job = nullptr;
  QuantizationRequest request;
  Notice notice;
  {
    engine::MutexLock lock(mutex_);
    while ((job = NextQueued()) == nullptr && !closed_) wake_.Wait(mutex_);
    if (job == nullptr) return false;
    request = std::move(job->request);
    job->snapshot.state = QuantizationState::kRunning;
    job->snapshot.start_time = system_clock::now();
    notice = Changed(*job);
    UpdateGauges();
  }
  notice.Send();
  notice.watchers.clear();  // a watcher that leaves while the job runs must be freed
  Run(*job, notice.snapshot.id, request);
  return true;
}

// A running job is never forgotten, so it can be used without the lock.
void QuantizationJobs::Run(Job& job, const std::string& id, const QuantizationRequest& request) {
  absl::StatusOr<engine::QuantizationReport> report = engine::CatchExceptions([&] {
    LogLimited(LogLevel::kInfo, "quantization started",
               {{"quantization", id},
                {"path", request.path},
                {"output_path", request.output_path},
                {"scheme", std::string(engine::Name(request.options.recipe.scheme))}});
    return quantizer_(request, [&](std::string_view stage, double fraction) {
      return OnProgress(job, stage, fraction);
    });
  });
  Notice notice;
  {
    engine::MutexLock lock(mutex_);
    if (report.ok()) {
      report->sites.clear();  // there may be thousands, and the output directory lists them
      job.snapshot.report = *std::move(report);
      job.snapshot.fraction = 1;
      notice = End(job, QuantizationState::kSucceeded, absl::OkStatus());
    } else if (absl::IsCancelled(report.status()) && !job.cancelled.ok()) {
      notice = End(job, QuantizationState::kCancelled, job.cancelled);
    } else {
      notice = End(job, QuantizationState::kFailed, report.status());
    }
  }
  notice.Send();
}

absl::Status QuantizationJobs::OnProgress(Job& job, std::string_view stage, double fraction) {
  Notice notice;
  {
    engine::MutexLock lock(mutex_);
    // At 1 the output exists, and a finished job cannot be cancelled.
    if (fraction < 1 && !job.cancelled.ok()) return job.cancelled;
    job.snapshot.stage = stage;
    job.snapshot.fraction = std::clamp(fraction, 0.0, 1.0);
    notice = Changed(job);
  }
  notice.Send();
  return absl::OkStatus();
}

absl::StatusOr<QuantizationJobs::Job*> QuantizationJobs::Find(std::string_view id) const {
  for (const auto& [number, job] : jobs_) {
    if (job->snapshot.id == id) return job.get();
  }
  return WithResource(absl::NotFoundError(absl::StrCat("no quantization ", engine::Quoted(id),
                                                       ": the server keeps the last ", kMaxEnded,
                                                       " that ended, until it stops")),
                      "quantization", id);
}

QuantizationJobs::Job* QuantizationJobs::NextQueued() {
  for (const auto& [number, job] : jobs_) {
    if (job->snapshot.state == QuantizationState::kQueued) return job.get();
  }
  return nullptr;
}

// Random, so that an id from before a restart does not name another job.
std::string QuantizationJobs::NewId() const {
  std::random_device random;
  std::string id;
  do {
    id = absl::StrFormat("q-%08x", random());
  } while (Find(id).ok());
  return id;
}

QuantizationJobs::Notice QuantizationJobs::Changed(Job& job) {
  ++job.snapshot.version;
  Notice notice{job.snapshot, {}};
  for (const auto& weak : job.watchers) {
    if (auto watcher = weak.lock()) notice.watchers.push_back(std::move(watcher));
  }
  return notice;
}

QuantizationJobs::Notice QuantizationJobs::End(Job& job, QuantizationState state,
                                               absl::Status error) {
  job.snapshot.state = state;
  job.snapshot.error = std::move(error);
  job.snapshot.end_time = system_clock::now();
  job.request = {};
  Notice notice = Changed(job);
  const std::string name(Name(state));
  metrics_.quantizations.With({name}).Add();
  if (state == QuantizationState::kFailed) {
    LogLimited(
        LogLevel::kError, "quantization failed",
        {{"quantization", job.snapshot.id}, {"error", std::string(job.snapshot.error.message())}});
  } else {
    LogLimited(LogLevel::kInfo, "quantization ended",
               {{"quantization", job.snapshot.id}, {"state", name}});
  }
  EraseOldest();
  UpdateGauges();
  return notice;
}

void QuantizationJobs::EraseOldest() {
  auto oldest = jobs_.end();
  int ended = 0;
  for (auto job = jobs_.begin(); job != jobs_.end(); ++job) {
    const QuantizationSnapshot& snapshot = job->second->snapshot;
    if (!HasEnded(snapshot.state)) continue;
    if (ended++ == 0 || snapshot.end_time < oldest->second->snapshot.end_time) oldest = job;
  }
  if (ended > kMaxEnded) jobs_.erase(oldest);
}

void QuantizationJobs::UpdateGauges() {
  int running = 0, waiting = 0;
  for (const auto& [number, job] : jobs_) {
    if (job->snapshot.state == QuantizationState::kRunning) ++running;
    if (job->snapshot.state == QuantizationState::kQueued) ++waiting;
  }
  metrics_.quantizations_running.With({}).Set(running);
  metrics_.quantizations_waiting.With({}).Set(waiting);
}

}  // namespace whipsnake::server
