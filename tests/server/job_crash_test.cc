// The queue of jobs in a machine that stops at any access of its disk, again and again, while
// clients make, pause, resume, cancel and delete jobs.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "server/jobs/job_queue.h"
#include "server/store/sqlite_store.h"
#include "tests/server/faulty_disk.h"
#include "tests/server/faulty_vfs.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::Contains;
using testing::IsEmpty;

constexpr char kCounting[] = "counting";
constexpr int kAllEvents = 100'000;

// Rings when a job changes or the machine stops.
class Bell final : public JobWatcher {
 public:
  void OnJobChanged() override {
    std::lock_guard lock(mutex_);
    ++rings_;
    rung_.notify_all();
  }
  template <typename Condition>
  void WaitUntil(Condition condition) {
    while (true) {
      int seen = 0;
      {
        std::lock_guard lock(mutex_);
        seen = rings_;
      }
      if (condition()) return;
      std::unique_lock lock(mutex_);
      rung_.wait(lock, [&] { return rings_ > seen; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable rung_;
  int rings_ = 0;
};

// A store on a disk that loses what is not synced, and the files of jobs, which are synced as they
// are written. The machine can stop on any thread.
class Machine final : public Store {
 public:
  Machine(uint64_t seed, Bell* bell) : disk_(seed), bell_(*bell) { Open(); }

  bool runs() const { return runs_; }
  // Stops it at an access of the disk from now on, counted from 1.
  void StopAtAccess(int64_t access) {
    disk_.Fail({.error = EIO, .first = access, .repeats = true, .stops = true});
  }
  void Stop() {
    OnDisk([this](Store&) {
      disk_.Stop();
      return 0;
    });
  }
  void Restart(FaultyDisk::Loss loss) {
    store_.reset();
    disk_.EndFault();
    disk_.Start(loss);
    runs_ = true;
    Open();
  }

  void WriteFile(const std::string& uid, int64_t step) {
    OnDisk([&](Store&) { return runs_ && files_[uid].insert(step).second; });
  }
  void RemoveFiles(const std::string& uid) {
    OnDisk([&](Store&) { return runs_ && files_.erase(uid) > 0; });
  }
  std::map<std::string, std::set<int64_t>> files() {
    return OnDisk([this](Store&) { return files_; });
  }

  absl::StatusOr<Committed> Commit(std::span<const Write> writes) override {
    return OnDisk([&](Store& store) { return store.Commit(writes); });
  }
  absl::StatusOr<Record> Get(Collection collection, std::string_view key) override {
    return OnDisk([&](Store& store) { return store.Get(collection, key); });
  }
  absl::StatusOr<std::vector<Record>> List(Collection collection, int64_t after,
                                           int limit) override {
    return OnDisk([&](Store& store) { return store.List(collection, after, limit); });
  }
  absl::StatusOr<std::vector<Record>> Children(Collection collection,
                                               std::string_view parent) override {
    return OnDisk([&](Store& store) { return store.Children(collection, parent); });
  }
  absl::StatusOr<std::vector<StoredEvent>> Events(std::string_view stream, int64_t after,
                                                  int limit) override {
    return OnDisk([&](Store& store) { return store.Events(stream, after, limit); });
  }
  absl::Status Beat(std::string_view key, std::string_view value) override {
    return store_->Beat(key, value);
  }
  absl::StatusOr<std::vector<Heartbeat>> Heartbeats() override { return store_->Heartbeats(); }
  absl::Status EndBeat(std::string_view key) override { return store_->EndBeat(key); }

 private:
  void Open() {
    auto store = SqliteStore::Open("store.db", {.sqlite = {.vfs = vfs_.name()}});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  template <typename Call>
  std::invoke_result_t<Call, Store&> OnDisk(Call call) {
    std::lock_guard lock(mutex_);
    auto result = call(*store_);
    if (!disk_.runs() && runs_.exchange(false)) bell_.OnJobChanged();
    return result;
  }

  std::mutex mutex_;
  FaultyDisk disk_;
  FaultyVfs vfs_{&disk_};
  std::unique_ptr<SqliteStore> store_;
  std::map<std::string, std::set<int64_t>> files_;  // the steps of each job, by uid
  std::atomic<bool> runs_ = true;
  Bell& bell_;
};

// Takes request.steps steps. Each writes a file and then commits the record of the step.
class CountingKind final : public JobKind {
 public:
  explicit CountingKind(Machine* machine) : machine_(*machine) {}
  std::string_view name() const override { return kCounting; }
  std::string_view id_prefix() const override { return "c"; }
  bool IsValid(const nlohmann::json&) const override { return true; }

  absl::Status Prepare(const Job&, JobRun& run, Preparation& preparation) override {
    preparation.bytes = 10;
    return run.CheckStop();
  }

  absl::StatusOr<json> Run(const Job& job, JobRun& run) override {
    const int64_t steps = job.request.at("steps");
    ASSIGN_OR_RETURN(const auto done, machine_.Children(Collection::kCheckpoints, job.uid));
    for (int64_t step = std::ssize(done) + 1; step <= steps; ++step) {
      run.AddEvent(EventLevel::kInfo, "step", {{"step", step}});
      machine_.WriteFile(job.uid, step);
      std::this_thread::yield();  // the events may be committed without the record
      RETURN_IF_ERROR(run.Commit({CreateRecord{.collection = Collection::kCheckpoints,
                                               .key = absl::StrFormat("%s/%04d", job.uid, step),
                                               .parent = job.uid,
                                               .value = json{{"step", step}}.dump()}}));
      RETURN_IF_ERROR(run.CheckStop());
    }
    return json{{"steps", steps}};
  }

  void RemoveFiles(const std::string& uid) override { machine_.RemoveFiles(uid); }
  void Sweep(const std::set<std::string>& uids) override {
    for (const auto& [uid, steps] : machine_.files()) {
      if (!uids.contains(uid)) machine_.RemoveFiles(uid);
    }
  }

 private:
  Machine& machine_;
};

// Whether a job that was in one state may be in another one after a restart, if no client has
// changed it since.
bool MayBecome(JobState before, JobState after) {
  switch (before) {
    case JobState::kValidating:
      if (after == JobState::kValidating) return true;
      [[fallthrough]];
    case JobState::kQueued:
    case JobState::kRunning:
      return after == JobState::kQueued || after == JobState::kSucceeded;
    case JobState::kPausing:
      return after == JobState::kPaused || after == JobState::kSucceeded;
    case JobState::kCancelling:
      return after == JobState::kCancelled || after == JobState::kSucceeded;
    default:
      return after == before;
  }
}

std::string Text(const JobEvent& event) {
  return absl::StrCat("attempt ", event.attempt, " ", event.type, " ", event.values.dump());
}

// Clients of the queue, what they were told, and the checks that it is still so.
class Clients {
 public:
  explicit Clients(uint64_t seed) : random_(seed) {}

  // Lets the machine run until it stops at a random moment.
  void RunUntilStop() {
    machine_.StopAtAccess(1 + Below(400));
    if (!OpenQueue()) return Crash();  // it has stopped already
    queue_->Start();
    for (int64_t i = 5 + Below(60); i > 0 && machine_.runs(); --i) Act();
    if (OneIn(2)) bell_->WaitUntil([this] { return !machine_.runs() || AllRest(); });
    Crash();
  }

  // Lets it run until all jobs have ended.
  void RunToTheEnd() {
    ASSERT_TRUE(OpenQueue());
    queue_->Start();
    for (const Job& job : queue_->List(kCounting)) {
      if (job.state == JobState::kPaused) {
        EXPECT_TRUE(queue_->Resume(kCounting, job.id, "").ok());
      }
    }
    bell_->WaitUntil([this] { return AllRest(); });
    for (const Job& job : queue_->List(kCounting)) {
      EXPECT_THAT(job.state, testing::AnyOf(JobState::kSucceeded, JobState::kCancelled));
      CheckWork(job);
    }
    queue_.reset();
  }

  int64_t succeeded() const {
    return std::ranges::count_if(
        known_, [](const auto& known) { return known.second.job.state == JobState::kSucceeded; });
  }

 private:
  // What clients know of a job.
  struct Known {
    Job job;
    std::map<int64_t, std::string> events;  // as texts, by id
    bool in_doubt = false;                  // a change was asked for and not acknowledged
    bool delete_asked = false;              // perhaps without an acknowledgement
    bool deleted = false;
  };

  int64_t Below(int64_t limit) { return static_cast<int64_t>(random_() % limit); }
  bool OneIn(int64_t count) { return Below(count) == 0; }

  // Returns false if the machine has stopped meanwhile.
  bool OpenQueue() {
    JobQueueOptions options;
    options.flush_interval = milliseconds(Below(2));
    options.first_backoff = milliseconds(0);
    std::vector<std::unique_ptr<JobKind>> kinds;
    kinds.push_back(std::make_unique<CountingKind>(&machine_));
    auto queue = JobQueue::Open(&machine_, &ledger_, std::move(kinds), nullptr, options);
    if (!machine_.runs()) return false;
    EXPECT_TRUE(queue.ok()) << queue.status();
    if (!queue.ok()) return false;
    queue_ = *std::move(queue);
    Check();
    return true;
  }

  void Crash() {
    machine_.Stop();
    queue_.reset();
    machine_.Restart(static_cast<FaultyDisk::Loss>(Below(3)));
  }

  bool AllRest() {
    return std::ranges::all_of(queue_->List(kCounting), [](const Job& job) {
      return HasEnded(job.state) || job.state == JobState::kPaused;
    });
  }

  void Act() {
    const std::string id(1, static_cast<char>('a' + Below(6)));
    switch (Below(8)) {
      case 0:
      case 1:
        return Create(id);
      case 2:
        return Change(id, [&] { return queue_->Pause(kCounting, id, ""); });
      case 3:
        return Change(id, [&] { return queue_->Resume(kCounting, id, ""); });
      case 4:
        if (OneIn(3)) Change(id, [&] { return queue_->Cancel(kCounting, id, ""); });
        return;
      case 5:
        if (OneIn(3)) Delete(id);
        return;
      default:
        return Read(id);
    }
  }

  void Create(const std::string& id) {
    const auto job = queue_->Create(
        {.kind = kCounting, .id = id, .labels = {}, .request = {{"steps", 1 + Below(6)}}});
    if (job.ok()) {
      Learn(*job);
      EXPECT_TRUE(queue_->Watch(kCounting, id, bell_).ok());
    } else if (!absl::IsAlreadyExists(job.status())) {
      EXPECT_FALSE(machine_.runs()) << job.status();
      create_in_doubt_.insert(id);
    }
  }

  template <typename Call>
  void Change(const std::string& id, Call call) {
    const absl::StatusOr<Job> before = queue_->Get(kCounting, id);
    if (!before.ok()) return;
    const absl::StatusOr<Job> after = call();
    if (after.ok()) {
      Learn(*after);
    } else if (!absl::IsFailedPrecondition(after.status())) {
      EXPECT_FALSE(machine_.runs()) << after.status();
      known_.at(before->uid).in_doubt = true;
    }
  }

  void Delete(const std::string& id) {
    const absl::StatusOr<Job> job = queue_->Get(kCounting, id);
    if (!job.ok()) return;
    Known& known = known_.at(job->uid);
    const absl::Status status = queue_->Delete(kCounting, id, "");
    if (absl::IsFailedPrecondition(status)) return;
    EXPECT_TRUE(status.ok() || !machine_.runs()) << status;
    known.delete_asked = true;
    known.deleted = status.ok();
  }

  void Read(const std::string& id) {
    const absl::StatusOr<Job> job = queue_->Get(kCounting, id);
    if (!job.ok()) return;
    Learn(*job);
    Known& known = known_.at(job->uid);
    const int64_t last = known.events.empty() ? 0 : known.events.rbegin()->first;
    const auto page = queue_->Events(kCounting, id, last, static_cast<int>(1 + Below(20)));
    if (!page.ok()) return;
    for (const JobEvent& event : page->events) {
      EXPECT_GT(event.id, last);
      EXPECT_TRUE(known.events.emplace(event.id, Text(event)).second);
    }
  }

  void Learn(const Job& job) {
    Known& known = known_[job.uid];
    EXPECT_GE(job.revision, known.job.revision);
    known.job = job;
    known.in_doubt = false;
  }

  // Compares what the queue found on the disk with what clients know. Nothing runs yet.
  void Check() {
    std::map<std::string, Job> found;  // by uid
    for (const Job& job : queue_->List(kCounting)) found[job.uid] = job;
    for (auto& [uid, known] : known_) {
      SCOPED_TRACE(absl::StrCat("job ", known.job.id, " ", uid));
      if (!found.contains(uid)) {
        EXPECT_TRUE(known.delete_asked) << "an acknowledged job is lost";
        known.deleted = true;
        CheckNothingIsLeft(uid);
        continue;
      }
      ASSERT_FALSE(known.deleted) << "a deleted job is back";
      const Job& job = found.at(uid);
      EXPECT_GE(job.revision, known.job.revision);
      EXPECT_TRUE(known.in_doubt || MayBecome(known.job.state, job.state))
          << Name(known.job.state) << " has become " << Name(job.state);
      known.delete_asked = false;
    }
    std::set<int64_t> ids;
    for (const auto& [uid, job] : found) {
      SCOPED_TRACE(absl::StrCat("job ", job.id, " ", uid));
      if (!known_.contains(uid)) {
        EXPECT_THAT(create_in_doubt_, Contains(job.id));
      }
      Learn(job);
      CheckEvents(job, ids);
      CheckWork(job);
      EXPECT_TRUE(queue_->Watch(kCounting, job.id, bell_).ok());
    }
    create_in_doubt_.clear();
  }

  void CheckNothingIsLeft(const std::string& uid) {
    EXPECT_THAT(*machine_.Events(uid, 0, 1), IsEmpty());
    EXPECT_THAT(*machine_.Children(Collection::kCheckpoints, uid), IsEmpty());
    EXPECT_FALSE(machine_.files().contains(uid));
  }

  // Every event that a client has seen is there, and every change of the state is an event.
  void CheckEvents(const Job& job, std::set<int64_t>& ids) {
    const auto page = queue_->Events(kCounting, job.id, 0, kAllEvents);
    ASSERT_TRUE(page.ok()) << page.status();
    std::map<int64_t, std::string> events;
    std::string state;
    std::pair<int64_t, int64_t> last_step;  // the attempt and the step
    int64_t last = 0;
    for (const JobEvent& event : page->events) {
      EXPECT_GT(event.id, std::exchange(last, event.id));
      EXPECT_TRUE(ids.insert(event.id).second) << "two jobs have event " << event.id;
      events[event.id] = Text(event);
      if (event.type == "state") state = event.values.at("state");
      if (event.type != "step") continue;
      const std::pair<int64_t, int64_t> step(event.attempt, event.values.at("step"));
      EXPECT_GT(step, std::exchange(last_step, step)) << "a step is told of twice in an attempt";
    }
    EXPECT_EQ(state, Name(job.state));
    for (const auto& event : known_[job.uid].events) EXPECT_THAT(events, Contains(event));
    known_[job.uid].events = std::move(events);
  }

  // The steps are recorded once each, in their order, each after its file.
  void CheckWork(const Job& job) {
    const auto records = *machine_.Children(Collection::kCheckpoints, job.uid);
    const std::set<int64_t> files = machine_.files()[job.uid];
    int64_t steps = 0;
    for (const Record& record : records) {
      EXPECT_EQ(json::parse(record.value).at("step"), ++steps);
      EXPECT_THAT(files, Contains(steps));
    }
    if (job.state != JobState::kSucceeded) return;
    EXPECT_EQ(steps, job.request.at("steps"));
    EXPECT_EQ(job.result.at("steps"), steps);
  }

  std::mt19937_64 random_;
  const std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();
  Machine machine_{random_(), bell_.get()};
  engine::Ledger ledger_{25};  // for two jobs at a time
  std::unique_ptr<JobQueue> queue_;
  std::map<std::string, Known> known_;  // by uid
  std::set<std::string> create_in_doubt_;
};

TEST(JobCrashTest, NoStopOfTheMachineLosesOrRepeatsWhatWasAcknowledged) {
  constexpr uint64_t kSeeds = 300;
  int64_t succeeded = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Clients clients(seed);
    for (int i = 0; i < 4; ++i) clients.RunUntilStop();
    clients.RunToTheEnd();
    succeeded += clients.succeeded();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(succeeded, kSeeds);
}

}  // namespace
}  // namespace whipsnake::server
