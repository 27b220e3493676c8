// Quantizations as background jobs: one at a time, in the order of arrival, kept only in memory.
#ifndef WHIPSNAKE_SERVER_REGISTRY_QUANTIZATION_JOBS_H_
#define WHIPSNAKE_SERVER_REGISTRY_QUANTIZATION_JOBS_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/metrics/metrics.h"
#include "server/registry/quantizer.h"

namespace whipsnake::server {

// The last three are final states.
enum class QuantizationState { kQueued, kRunning, kSucceeded, kFailed, kCancelled };
// "queued", "running", "succeeded", "failed", "cancelled"
std::string_view Name(QuantizationState state);
inline bool HasEnded(QuantizationState state) { return state >= QuantizationState::kSucceeded; }

// The state of a job at one moment.
struct QuantizationSnapshot {
  using Time = std::chrono::system_clock::time_point;

  std::string id;
  int64_t number = 0;   // in the order of arrival, from 1
  int64_t version = 0;  // incremented by each change
  std::string path, output_path;
  engine::Scheme scheme = engine::Scheme::kQuamba;
  QuantizationState state = QuantizationState::kQueued;
  std::string stage;
  double fraction = 0;
  absl::Status error;                                // with kFailed and kCancelled
  std::optional<engine::QuantizationReport> report;  // with kSucceeded; without its sites
  Time create_time;
  std::optional<Time> start_time, end_time;
};

class QuantizationWatcher {
 public:
  virtual ~QuantizationWatcher() = default;
  // Called on any thread, with no lock held. Calls may arrive out of order: the snapshot with the
  // highest version is the latest.
  virtual void OnSnapshot(const QuantizationSnapshot& snapshot) = 0;
};

// Thread-safe.
class QuantizationJobs {
 public:
  static constexpr int kMaxWaiting = 16;
  static constexpr int kMaxEnded = 100;       // ended jobs that are kept
  static constexpr size_t kMaxWatchers = 64;  // per job, because each is notified of every step

  // `metrics` must outlive the jobs.
  QuantizationJobs(Quantizer quantizer, Metrics& metrics);
  // Closes, and waits for the running job.
  ~QuantizationJobs();
  QuantizationJobs(const QuantizationJobs&) = delete;
  QuantizationJobs& operator=(const QuantizationJobs&) = delete;

  // Queues a job. RESOURCE_EXHAUSTED if too many wait, ALREADY_EXISTS if another job writes the
  // same output, UNAVAILABLE once closed.
  absl::StatusOr<QuantizationSnapshot> Create(QuantizationRequest request);
  // NOT_FOUND for an id that never existed or is forgotten.
  absl::StatusOr<QuantizationSnapshot> Get(std::string_view id) const;
  // Lists all jobs, the latest first.
  std::vector<QuantizationSnapshot> List() const;
  // Sends the watcher the job's current state, before this returns, and every change until the job
  // ends or the watcher is destroyed. NOT_FOUND if there is no such job; RESOURCE_EXHAUSTED if too
  // many watch it already, whether it has ended or not.
  absl::Status Watch(std::string_view id, const std::shared_ptr<QuantizationWatcher>& watcher);
  // Cancels a job: a queued one at once, a running one when it next reports progress. Cancelling a
  // cancelled job is not an error. NOT_FOUND if there is no such job; FAILED_PRECONDITION if it has
  // succeeded or failed.
  absl::StatusOr<QuantizationSnapshot> Cancel(std::string_view id);

  // Refuses new jobs and cancels all existing ones. Does not wait.
  void Close();
  // Closes, and returns once no job runs.
  void Stop();

 private:
  struct Job;
  struct Notice;

  void WorkLoop();
  // Waits for a job and runs it. Returns false once closed and no job is left.
  bool RunNext();
  void Run(Job& job, const std::string& id, const QuantizationRequest& request);
  absl::Status OnProgress(Job& job, std::string_view stage, double fraction);

  absl::StatusOr<Job*> Find(std::string_view id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Job* NextQueued() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string NewId() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Notice Changed(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Notice End(Job& job, QuantizationState state, absl::Status error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EraseOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateGauges() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Quantizer quantizer_;
  Metrics& metrics_;
  mutable engine::Mutex mutex_;
  engine::CondVar wake_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::unique_ptr<Job>> jobs_ ABSL_GUARDED_BY(mutex_);  // by number
  engine::Mutex stop_mutex_;                                              // guards joining worker_
  std::thread worker_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_QUANTIZATION_JOBS_H_
