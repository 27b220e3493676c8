#include "server/jobs/job_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "absl/time/time.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/store/sqlite_store.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kKind[] = "fake";

// What all processes of a test share: the disk, and the gates of the work.
struct World {
  std::unique_ptr<SqliteStore> store = *SqliteStore::Open(":memory:");
  engine::Ledger ledger{1000};
  std::map<std::string, int64_t> saved;  // steps, by uid
  std::set<std::string> removed, swept_all_but;
  std::mutex mutex;
  Gate steps;                    // before each step
  Gate prepares;                 // before each preparation
  Gate removals;                 // before each removal of files
  std::atomic<int64_t> time{0};  // in milliseconds
};

// Takes request.steps steps, each durable. The step request.fails_at fails with request.code, the
// first request.failures times.
class FakeKind final : public JobKind {
 public:
  explicit FakeKind(World& world, int max_ended = 1'000'000)
      : world_(world), max_ended_(max_ended) {}
  std::string_view name() const override { return kKind; }
  std::string_view id_prefix() const override { return "fake"; }
  int max_ended() const override { return max_ended_; }

  bool IsValid(const json& request) const override { return request.is_object(); }
  absl::Status Prepare(const Job& job, JobRun& run, Preparation& preparation) override {
    world_.prepares.Pass();
    RETURN_IF_ERROR(run.CheckStop());
    preparation.bytes = job.request.value("bytes", int64_t{10});
    preparation.details["prepared"] = true;
    if (preparation.bytes > run.ledger().limit()) {
      return WithReason(absl::FailedPreconditionError("too large"), "PLAN_EXCEEDS_MEMORY");
    }
    if (job.attempt <= job.request.value("preparations_fail", 0)) {
      return absl::ResourceExhaustedError("no memory now");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<json> Run(const Job& job, JobRun& run) override {
    int64_t step = Saved(job.uid);
    while (step < job.request.value("steps", int64_t{1})) {
      world_.steps.Pass();
      if (++step == job.request.value("fails_at", int64_t{0}) &&
          job.attempt <= job.request.value("failures", 1)) {
        return absl::Status(static_cast<absl::StatusCode>(job.request.value("code", 13)),
                            "step failed");
      }
      run.AddEvent(EventLevel::kInfo, "step", {{"step", step}});
      run.Report({.stage = "Stepping", .fraction = 0.5, .values = {{"step", step}}});
      {
        std::lock_guard lock(world_.mutex);
        world_.saved[job.uid] = step;
      }
      if (job.request.value("commits", true)) RETURN_IF_ERROR(run.Commit({}));
      RETURN_IF_ERROR(run.CheckStop());
    }
    return json{{"steps", step}, {"attempt", job.attempt}};
  }

  void RemoveFiles(const std::string& uid) override {
    world_.removals.Pass();
    std::lock_guard lock(world_.mutex);
    world_.removed.insert(uid);
  }
  void Sweep(const std::set<std::string>& uids) override { world_.swept_all_but = uids; }

 private:
  int64_t Saved(const std::string& uid) {
    std::lock_guard lock(world_.mutex);
    return world_.saved[uid];
  }

  World& world_;
  const int max_ended_;
};

class JobQueueTest : public ::testing::Test {
 protected:
  ~JobQueueTest() override {
    world_.steps.Open();
    world_.prepares.Open();
    world_.removals.Open();
  }

  void Open(JobQueueOptions options = {}, int max_ended = 1'000'000) {
    options.clock = [this] { return WallTime(milliseconds(world_.time)); };
    options.flush_interval = milliseconds(5);
    std::vector<std::unique_ptr<JobKind>> kinds;
    kinds.push_back(std::make_unique<FakeKind>(world_, max_ended));
    auto queue = JobQueue::Open(world_.store.get(), &world_.ledger, std::move(kinds), nullptr,
                                std::move(options));
    ASSERT_TRUE(queue.ok()) << queue.status();
    queue_ = *std::move(queue);
    queue_->Start();
  }

  absl::StatusOr<Job> Create(const std::string& id, json request = {{"steps", 1}},
                             int32_t priority = 0) {
    return queue_->Create(
        {.kind = kKind, .id = id, .labels = {}, .priority = priority, .request = request});
  }
  JobState StateOf(const std::string& id) { return queue_->Get(kKind, id)->state; }

  // Waits, by the queue's notifications, until the job satisfies the condition.
  Job WaitFor(const std::string& id, const std::function<bool(const Job&)>& condition) {
    struct Watcher : JobWatcher {
      void OnJobChanged() override {
        std::lock_guard lock(mutex);
        ++changes;
        changed.notify_all();
      }
      std::mutex mutex;
      std::condition_variable changed;
      int changes = 0;
    };
    const auto watcher = std::make_shared<Watcher>();
    EXPECT_TRUE(queue_->Watch(kKind, id, watcher).ok());
    while (true) {
      int seen;
      {
        std::lock_guard lock(watcher->mutex);
        seen = watcher->changes;
      }
      Job job = *queue_->Get(kKind, id);
      if (condition(job)) return job;
      std::unique_lock lock(watcher->mutex);
      watcher->changed.wait(lock, [&] { return watcher->changes > seen; });
    }
  }
  Job WaitForState(const std::string& id, JobState state) {
    return WaitFor(id, [=](const Job& job) { return job.state == state; });
  }

  std::vector<std::string> EventTexts(const std::string& id) {
    std::vector<std::string> texts;
    const JobEvents page = *queue_->Events(kKind, id, 0, 1000);
    for (const JobEvent& event : page.events) {
      texts.push_back(event.type == "state"
                          ? event.values.at("state").get<std::string>()
                          : absl::StrCat(event.type, " ", event.values.at("step").get<int>()));
    }
    return texts;
  }

  World world_;
  std::unique_ptr<JobQueue> queue_;
};

TEST_F(JobQueueTest, RunsAJobToItsEndAndTellsOfEachStateAndStep) {
  Open();
  ASSERT_TRUE(Create("a", {{"steps", 2}}).ok());
  const Job job = WaitForState("a", JobState::kSucceeded);
  EXPECT_EQ(job.result.at("steps"), 2);
  EXPECT_EQ(job.bytes, 10);
  EXPECT_EQ(job.attempt, 1);
  EXPECT_TRUE(job.start_time && job.end_time);
  EXPECT_THAT(EventTexts("a"),
              ElementsAre("validating", "queued", "running", "step 1", "step 2", "succeeded"));
}

TEST_F(JobQueueTest, TheSameRequestAgainIsTheSameJob) {
  Open();
  world_.prepares.Close();
  const Job first = *Create("a", {{"steps", 2}});
  EXPECT_EQ(Create("a", {{"steps", 2}})->uid, first.uid);
  const absl::Status other = Create("a", {{"steps", 3}}).status();
  EXPECT_TRUE(absl::IsAlreadyExists(other)) << other;
  EXPECT_EQ(ReasonOf(other), "JOB_EXISTS");
  EXPECT_NE(Create("")->id, Create("")->id);
}

TEST_F(JobQueueTest, PauseFreesMemoryAndResumeGoesOn) {
  Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("a", {{"steps", 3}}).ok());
  world_.steps.WaitForArrivals(1);
  EXPECT_EQ(world_.ledger.used(engine::Purpose::kJobs), 10);
  EXPECT_EQ(queue_->Pause(kKind, "a", "")->state, JobState::kPausing);
  EXPECT_EQ(queue_->Pause(kKind, "a", "")->state, JobState::kPausing);
  world_.steps.Permit(1);
  WaitForState("a", JobState::kPaused);
  EXPECT_EQ(world_.ledger.used(engine::Purpose::kJobs), 0);
  EXPECT_EQ(queue_->Resume(kKind, "a", "")->state, JobState::kQueued);
  world_.steps.Open();
  const Job job = WaitForState("a", JobState::kSucceeded);
  EXPECT_EQ(job.attempt, 1);
  EXPECT_THAT(EventTexts("a"),
              ElementsAre("validating", "queued", "running", "pausing", "step 1", "paused",
                          "queued", "running", "step 2", "step 3", "succeeded"));
}

TEST_F(JobQueueTest, CancelsInEachState) {
  Open();
  world_.prepares.Close();
  ASSERT_TRUE(Create("validating").ok());
  EXPECT_EQ(queue_->Cancel(kKind, "validating", "")->state, JobState::kCancelled);
  EXPECT_EQ(queue_->Cancel(kKind, "validating", "")->state, JobState::kCancelled);
  world_.prepares.Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("running", {{"steps", 5}, {"bytes", 900}}).ok());
  WaitForState("running", JobState::kRunning);
  ASSERT_TRUE(Create("queued", {{"bytes", 900}}).ok());
  WaitForState("queued", JobState::kQueued);
  EXPECT_EQ(queue_->Cancel(kKind, "queued", "")->state, JobState::kCancelled);
  EXPECT_EQ(queue_->Cancel(kKind, "running", "")->state, JobState::kCancelling);
  world_.steps.Permit(1);
  WaitForState("running", JobState::kCancelled);
  world_.steps.Open();
  ASSERT_TRUE(Create("done").ok());
  WaitForState("done", JobState::kSucceeded);
  const absl::Status late = queue_->Cancel(kKind, "done", "").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(late)) << late;
  EXPECT_EQ(ReasonOf(late), "JOB_STATE");
}

TEST_F(JobQueueTest, ChecksEtagsAndIds) {
  Open();
  ASSERT_TRUE(Create("a").ok());
  WaitForState("a", JobState::kSucceeded);
  const absl::Status stale = queue_->Delete(kKind, "a", "1");
  EXPECT_TRUE(absl::IsAborted(stale)) << stale;
  EXPECT_EQ(ReasonOf(stale), "ETAG_MISMATCH");
  const Job job = *queue_->Get(kKind, "a");
  EXPECT_THAT(std::string(stale.message()),
              HasSubstr(absl::StrCat("expected ", engine::Quoted(job.etag()))));
  EXPECT_TRUE(queue_->Delete(kKind, "a", job.etag()).ok());
  EXPECT_TRUE(absl::IsNotFound(queue_->Get(kKind, "a").status()));
  world_.removals.WaitForArrivals(1);
  EXPECT_TRUE(world_.store->Events(job.uid, 0, 10)->empty());
  EXPECT_TRUE(absl::IsNotFound(queue_->Pause(kKind, "../a", "").status()));
}

TEST_F(JobQueueTest, WhatChangesNothingKeepsTheEtag) {
  Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("a").ok());
  WaitForState("a", JobState::kRunning);
  const auto etag = [this] { return queue_->Get(kKind, "a")->etag(); };
  const std::string running = etag();
  EXPECT_EQ(queue_->Resume(kKind, "a", "")->etag(), running);
  ASSERT_TRUE(queue_->Cancel(kKind, "a", "").ok());
  world_.steps.Open();
  WaitForState("a", JobState::kCancelled);
  const std::string cancelled = etag();
  EXPECT_NE(cancelled, running);
  EXPECT_EQ(queue_->Cancel(kKind, "a", "")->etag(), cancelled);
  EXPECT_TRUE(queue_->Delete(kKind, "a", cancelled).ok());
}

TEST_F(JobQueueTest, RunsByPriorityAndThenInOrderAndAsManyAsMemoryAllows) {
  Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("first", {{"steps", 1}, {"bytes", 500}}).ok());
  ASSERT_TRUE(Create("second", {{"steps", 1}, {"bytes", 500}}).ok());
  WaitForState("first", JobState::kRunning);
  WaitForState("second", JobState::kRunning);
  ASSERT_TRUE(Create("third", {{"steps", 1}, {"bytes", 800}}).ok());
  WaitFor("third", [](const Job& job) { return !job.waits_for.empty(); });
  ASSERT_TRUE(Create("small", {{"steps", 1}, {"bytes", 1}}).ok());
  ASSERT_TRUE(Create("urgent", {{"steps", 1}, {"bytes", 900}}, 5).ok());
  const Job urgent = WaitFor("urgent", [](const Job& job) { return !job.waits_for.empty(); });
  EXPECT_EQ(urgent.position, 1);
  EXPECT_THAT(urgent.waits_for, HasSubstr("of memory"));
  const Job third =
      WaitFor("third", [](const Job& job) { return job.waits_for == "1 job before it"; });
  EXPECT_EQ(third.position, 2);
  WaitFor("small", [](const Job& job) { return job.waits_for == "2 jobs before it"; });
  EXPECT_EQ(world_.ledger.used(), 1000);
  world_.steps.Permit(2);
  WaitForState("urgent", JobState::kRunning);
  EXPECT_EQ(StateOf("third"), JobState::kQueued);
  world_.steps.Open();
  for (const char* id : {"urgent", "third", "small"}) WaitForState(id, JobState::kSucceeded);
  EXPECT_LE(world_.ledger.peak(), 1000);
}

TEST_F(JobQueueTest, AJobThatNeverFitsIsRefused) {
  Open();
  ASSERT_TRUE(Create("a", {{"bytes", 1001}}).ok());
  const Job job = WaitForState("a", JobState::kFailed);
  EXPECT_EQ(job.error->reason, "PLAN_EXCEEDS_MEMORY");
  EXPECT_EQ(job.details.at("prepared"), true);
  EXPECT_TRUE(absl::IsFailedPrecondition(queue_->Resume(kKind, "a", "").status()));
}

TEST_F(JobQueueTest, RetriesWhatMayPassWithBackoffAndFailsTheRest) {
  JobQueueOptions options;
  options.first_backoff = milliseconds(100);
  Open(options);
  ASSERT_TRUE(Create("wrong", {{"fails_at", 1}, {"code", 3}}).ok());
  EXPECT_EQ(WaitForState("wrong", JobState::kFailed).failures, 1);
  ASSERT_TRUE(Create("full", {{"fails_at", 1}, {"code", 8}, {"failures", 2}}).ok());
  for (const int64_t time : {100, 300}) {
    const Job waiting = WaitFor("full", [=](const Job& job) {
      return job.next_attempt_time == WallTime(milliseconds(time));
    });
    EXPECT_EQ(waiting.state, JobState::kQueued);
    EXPECT_THAT(waiting.reason, HasSubstr("step failed"));
    world_.time = time;
  }
  EXPECT_EQ(WaitForState("full", JobState::kSucceeded).attempt, 3);
}

TEST_F(JobQueueTest, APreparationThatMayPassIsTriedAgain) {
  JobQueueOptions options;
  options.first_backoff = milliseconds(0);
  Open(options);
  ASSERT_TRUE(Create("a", {{"preparations_fail", 2}}).ok());
  const Job job = WaitForState("a", JobState::kSucceeded);
  EXPECT_EQ(job.attempt, 3);
  EXPECT_FALSE(job.error);
}

// Serving's caches are not emptied for a job that could not start even then, and a job that no
// longer fits beside the models does not hold up the others.
TEST_F(JobQueueTest, AJobThatCannotStartTakesNothingFromServing) {
  struct Cache : engine::Reclaimer {
    int64_t Reclaim(int64_t) override {
      ++calls;
      return 0;
    }
    std::atomic<int> calls{0};
  };
  Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("running", {{"steps", 1}, {"bytes", 600}}).ok());
  WaitForState("running", JobState::kRunning);
  Cache cache;
  world_.ledger.Register(&cache);
  ASSERT_TRUE(Create("waiting", {{"steps", 1}, {"bytes", 600}}).ok());
  WaitFor("waiting", [](const Job& job) { return !job.waits_for.empty(); });
  EXPECT_EQ(cache.calls, 0);
  const auto model = world_.ledger.Reserve(399, engine::Purpose::kWeights, "a model");
  ASSERT_TRUE(model.ok());
  world_.steps.Open();
  WaitForState("running", JobState::kSucceeded);
  WaitFor("waiting", [](const Job& job) { return job.waits_for.empty() || HasEnded(job.state); });
  WaitForState("waiting", JobState::kSucceeded);
  const auto larger = world_.ledger.Reserve(300, engine::Purpose::kWeights, "a model");
  ASSERT_TRUE(larger.ok());
  world_.ledger.Unregister(&cache);
}

TEST_F(JobQueueTest, AnEtagIsThatOfAState) {
  Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("a", {{"steps", 2}}).ok());
  const std::string etag = WaitForState("a", JobState::kRunning).etag();
  world_.steps.WaitForArrivals(1);
  world_.steps.Permit(1);  // a step, which is durable
  world_.steps.WaitForArrivals(2);
  EXPECT_TRUE(queue_->Pause(kKind, "a", etag).ok());
  EXPECT_TRUE(absl::IsAborted(queue_->Cancel(kKind, "a", etag).status()));
  world_.steps.Open();
}

TEST_F(JobQueueTest, GivesUpAfterFailuresInARowWithoutProgress) {
  JobQueueOptions options;
  options.first_backoff = milliseconds(0);
  Open(options);
  ASSERT_TRUE(Create("a", {{"fails_at", 1}, {"code", 14}, {"failures", 100}}).ok());
  const Job job = WaitForState("a", JobState::kFailed);
  EXPECT_EQ(job.failures, JobQueue::kMaxFailures);
  // A client can have it tried again.
  EXPECT_TRUE(queue_->Resume(kKind, "a", "").ok());
  EXPECT_GE(WaitFor("a", [](const Job& again) { return again.failures > 0; }).attempt, 6);
}

TEST_F(JobQueueTest, AStopQueuesWhatRunsAndTheNextStartGoesOn) {
  Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("a", {{"steps", 3}}).ok());
  world_.steps.WaitForArrivals(1);
  queue_->Close();
  EXPECT_TRUE(absl::IsUnavailable(Create("b").status()));
  world_.steps.Permit(1);
  queue_->Stop();
  EXPECT_EQ(StateOf("a"), JobState::kQueued);
  world_.steps.Open();
  queue_.reset();
  Open();
  const Job job = WaitForState("a", JobState::kSucceeded);
  EXPECT_EQ(job.attempt, 1);
  EXPECT_EQ(job.failures, 0);
  EXPECT_THAT(EventTexts("a"), ElementsAre("validating", "queued", "running", "step 1", "queued",
                                           "running", "step 2", "step 3", "succeeded"));
}

// A crash leaves the store as it is: the records of one queue are read by another one.
TEST_F(JobQueueTest, ACrashIsAnAttemptAndWhatWasAskedForHappens) {
  struct Case {
    JobState found, expected;
  };
  for (const auto [found, expected] :
       {Case{JobState::kRunning, JobState::kSucceeded}, Case{JobState::kPausing, JobState::kPaused},
        Case{JobState::kCancelling, JobState::kCancelled},
        Case{JobState::kValidating, JobState::kSucceeded}}) {
    Job job{.kind = kKind, .id = std::string(Name(found)), .uid = std::string(Name(found))};
    job.request = {{"steps", 1}};
    job.state = found;
    job.prepared = found != JobState::kValidating;
    ASSERT_TRUE(world_.store
                    ->Commit(std::vector<Write>{CreateRecord{
                        Collection::kJobs, JobKey(job.kind, job.id), "", JobValue(job)}})
                    .ok());
  }
  JobQueueOptions options;
  options.first_backoff = milliseconds(0);
  Open(options);
  EXPECT_EQ(world_.swept_all_but.size(), 4);
  EXPECT_EQ(WaitForState("pausing", JobState::kPaused).attempt, 2);
  WaitForState("cancelling", JobState::kCancelled);
  WaitForState("validating", JobState::kSucceeded);
  EXPECT_EQ(WaitForState("running", JobState::kSucceeded).attempt, 2);
}

// Texts for clients name no file of the server.
TEST_F(JobQueueTest, ErrorsOfTheStoreWhileReadingAreThoseForClients) {
  Open();
  ASSERT_TRUE(Create("a", {{"steps", JobQueue::kRecentEvents + 100}, {"commits", false}}).ok());
  const Job job = WaitForState("a", JobState::kSucceeded);
  ASSERT_TRUE(
      world_.store->Commit(std::vector<Write>{DeleteEvents{job.uid}, AppendEvent{job.uid, "?"}})
          .ok());
  const absl::Status status = queue_->Events(kKind, "a", 0, 10).status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_EQ(engine::ClientMessage(status), "the server could not read the job's events");
}

TEST_F(JobQueueTest, ACrashedJobTellsWhenItWasLastAlive) {
  for (const char* id : {"beating", "silent"}) {
    Job job{.kind = kKind, .id = id, .uid = absl::StrCat(id, "-uid")};
    job.request = {{"steps", 1}};
    job.state = JobState::kRunning;
    job.prepared = true;
    ASSERT_TRUE(world_.store
                    ->Commit(std::vector<Write>{CreateRecord{
                        Collection::kJobs, JobKey(job.kind, job.id), "", JobValue(job)}})
                    .ok());
  }
  ASSERT_TRUE(world_.store->Beat("beating-uid", "Training").ok());
  const WallTime died = world_.store->Heartbeats()->front().time;
  const std::string when =
      absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromChrono(died), absl::UTCTimeZone());
  Open();
  const Job beating = *queue_->Get(kKind, "beating");
  EXPECT_EQ(beating.reason, absl::StrCat("attempt 1 failed: the server crashed while it ran (last "
                                         "heartbeat ",
                                         when, ", stage Training)"));
  EXPECT_EQ(beating.error->reason, "SERVER_CRASHED");
  EXPECT_EQ(queue_->Events(kKind, "beating", 0, 10)->events.front().values.at("reason"),
            beating.reason);
  EXPECT_EQ(queue_->Get(kKind, "silent")->reason,
            "attempt 1 failed: the server crashed while it ran");
  EXPECT_TRUE(world_.store->Heartbeats()->empty());
}

TEST_F(JobQueueTest, LeavesARecordAloneThatItCannotRead) {
  ASSERT_TRUE(world_.store
                  ->Commit(std::vector<Write>{
                      CreateRecord{Collection::kJobs, "fake/broken", "", "{}"},
                      CreateRecord{Collection::kJobs, "fake/strange", "", R"({"kind": "other"})"}})
                  .ok());
  world_.swept_all_but = {"untouched"};
  Open();
  EXPECT_TRUE(queue_->List(kKind).empty());
  EXPECT_EQ(world_.swept_all_but, std::set<std::string>{"untouched"});
  EXPECT_EQ(world_.store->List(Collection::kJobs, 0, 10)->size(), 2);
}

TEST_F(JobQueueTest, EventsCanBeReadFromAnyCursorFromMemoryAndFromTheStore) {
  Open();
  const int64_t steps = JobQueue::kRecentEvents + 100;
  ASSERT_TRUE(Create("a", {{"steps", steps}, {"commits", false}}).ok());
  WaitForState("a", JobState::kSucceeded);
  const auto all = world_.store->Events(queue_->Get(kKind, "a")->uid, 0, 10'000);
  ASSERT_EQ(std::ssize(*all), steps + 4);
  std::vector<int64_t> seen;
  bool more = true;
  while (more) {
    const auto page = queue_->Events(kKind, "a", seen.empty() ? 0 : seen.back(), 97);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const JobEvent& event : page->events) seen.push_back(event.id);
    EXPECT_TRUE(page->has_ended);
    more = page->more;
  }
  ASSERT_EQ(seen.size(), all->size());
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], (*all)[i].id);
  EXPECT_EQ(*queue_->RecentEvents(kKind, "a", 0, 10), std::nullopt);
}

// A client that has seen all is told so from memory; one that has not reads the disk.
TEST_F(JobQueueTest, AJobThatDoesNotRunHasFewEventsInMemory) {
  Open();
  world_.steps.Close();
  ASSERT_TRUE(Create("ended", {{"steps", 100}, {"commits", false}}).ok());
  ASSERT_TRUE(Create("paused", {{"steps", 200}, {"commits", false}}).ok());
  WaitForState("paused", JobState::kRunning);
  ASSERT_TRUE(queue_->Pause(kKind, "paused", "").ok());
  world_.steps.Open();
  WaitForState("ended", JobState::kSucceeded);
  WaitForState("paused", JobState::kPaused);
  ASSERT_TRUE(queue_->Resume(kKind, "paused", "").ok());
  WaitForState("paused", JobState::kSucceeded);
  for (const char* id : {"ended", "paused"}) {
    SCOPED_TRACE(id);
    const auto all = *world_.store->Events(queue_->Get(kKind, id)->uid, 0, 10'000);
    ASSERT_GT(all.size(), 100);
    const auto in_memory = [&](size_t count) {
      return *queue_->RecentEvents(kKind, id, all[all.size() - 1 - count].id, 1000);
    };
    EXPECT_EQ(in_memory(33), std::nullopt);
    EXPECT_EQ(in_memory(16)->events.size(), 16);
    EXPECT_TRUE(in_memory(0)->events.empty());
    EXPECT_TRUE(in_memory(0)->has_ended);
    EXPECT_EQ(queue_->Events(kKind, id, 0, 10'000)->events.size(), all.size());
  }
}

TEST_F(JobQueueTest, WatchesOfAJobAreBounded) {
  struct Nobody : JobWatcher {
    void OnJobChanged() override {}
  };
  Open();
  ASSERT_TRUE(Create("a").ok());
  std::vector<std::shared_ptr<Nobody>> watchers;
  const auto watch = [&] {
    watchers.push_back(std::make_shared<Nobody>());
    return queue_->Watch(kKind, "a", watchers.back());
  };
  for (size_t i = 0; i < JobQueue::kMaxWatchers; ++i) ASSERT_TRUE(watch().ok());
  const absl::Status full = watch();
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(ReasonOf(full), "TOO_MANY_WATCHES");
  watchers.erase(watchers.begin());
  EXPECT_TRUE(watch().ok());
}

TEST_F(JobQueueTest, ForgetsTheOldestOfAKindThatKeepsFew) {
  Open({}, /*max_ended=*/2);
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(Create(id).ok());
    WaitFor(id, [](const Job& job) { return job.state == JobState::kSucceeded; });
  }
  // The end of "c" is seen before "a" is forgotten; the next change comes after both.
  ASSERT_TRUE(Create("c").ok());
  EXPECT_EQ(queue_->List(kKind).size(), 2);
  EXPECT_TRUE(absl::IsNotFound(queue_->Get(kKind, "a").status()));
}

// A watch of a job that is forgotten ends, as that of one that is deleted does.
TEST_F(JobQueueTest, AForgottenJobTellsItsWatchers) {
  struct Ending : JobWatcher {
    explicit Ending(JobQueue* watched) : queue(watched) {}
    void OnJobChanged() override {
      if (absl::IsNotFound(queue->Get(kKind, "a").status()) && !gone.exchange(true)) ended.Pass();
    }
    JobQueue* const queue;
    std::atomic<bool> gone = false;
    Gate ended;
  };
  Open({}, /*max_ended=*/1);
  ASSERT_TRUE(Create("a").ok());
  WaitForState("a", JobState::kSucceeded);
  const auto watcher = std::make_shared<Ending>(queue_.get());
  ASSERT_TRUE(queue_->Watch(kKind, "a", watcher).ok());
  ASSERT_TRUE(Create("b").ok());
  watcher->ended.WaitForArrivals(1);
  world_.removals.WaitForArrivals(1);
}

TEST_F(JobQueueTest, ADeletionDoesNotWaitForTheFiles) {
  Open();
  std::vector<std::string> uids;
  for (const char* id : {"a", "b"}) {
    uids.push_back(Create(id)->uid);
    WaitForState(id, JobState::kSucceeded);
  }
  world_.removals.Close();
  EXPECT_TRUE(queue_->Delete(kKind, "a", "").ok());
  world_.removals.WaitForArrivals(1);
  EXPECT_TRUE(queue_->Delete(kKind, "b", "").ok());
  EXPECT_TRUE(queue_->List(kKind).empty());
  EXPECT_TRUE(world_.store->List(Collection::kJobs, 0, 10)->empty());
  ASSERT_TRUE(Create("a").ok());  // the id is free
  WaitForState("a", JobState::kSucceeded);
  queue_->Stop();
  world_.removals.Open();
  queue_.reset();
  // What waited is left to the next start.
  EXPECT_EQ(world_.removed, std::set<std::string>{uids[0]});
  Open();
  EXPECT_EQ(world_.swept_all_but, std::set<std::string>{queue_->Get(kKind, "a")->uid});
}

TEST_F(JobQueueTest, AListHasTheJobsThatAreSelectedWithTheirPlaces) {
  Open({.max_running = 1});
  world_.steps.Close();
  ASSERT_TRUE(Create("running").ok());
  WaitForState("running", JobState::kRunning);
  for (const char* id : {"a", "b", "c", "d"}) {
    ASSERT_TRUE(Create(id, {{"steps", 1}}, id[0] == 'd' ? 1 : 0).ok());
    WaitForState(id, JobState::kQueued);
  }
  JobSelection selection;
  selection.matches = [](const Job& job) { return job.position > 0; };
  selection.place = [](const Job& job) { return JobSelection::Place(job.position, job.number); };
  selection.limit = 2;
  std::string ids;
  while (true) {
    const std::vector<Job> jobs = queue_->List(kKind, selection);
    for (const Job& job : jobs) ids += job.id;
    if (jobs.size() < selection.limit) break;
    ids += ' ';
    selection.after = selection.place(jobs.back());
  }
  EXPECT_EQ(ids, "da bc ");
  EXPECT_TRUE(queue_->List("another kind", selection).empty());
}

TEST_F(JobQueueTest, TheLatestAreThoseThatHaveNotEndedAndThenTheNewest) {
  Open({.max_running = 1});
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(Create(id).ok());
    WaitForState(id, JobState::kSucceeded);
  }
  world_.steps.Close();
  ASSERT_TRUE(Create("d").ok());
  WaitForState("d", JobState::kRunning);
  for (const char* id : {"e", "f"}) {
    ASSERT_TRUE(Create(id, {{"steps", 1}}, id[0] == 'f' ? 1 : 0).ok());
    WaitForState(id, JobState::kQueued);
  }
  const auto ids = [&](size_t limit) {
    std::string text;
    for (const Job& job : queue_->Latest(limit)) text += job.id;
    return text;
  };
  EXPECT_EQ(ids(100), "defcba");
  EXPECT_EQ(ids(4), "defc");
  EXPECT_EQ(ids(0), "");
  EXPECT_EQ(queue_->Latest(3)[1].position, 2);
  EXPECT_EQ(queue_->Latest(3)[2].position, 1);
}

TEST_F(JobQueueTest, ManyClientsAtOnce) {
  Open({.max_running = 3});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 25; ++i) {
        const std::string id = absl::StrCat("j", t, "-", i);
        EXPECT_TRUE(Create(id, {{"steps", 3}, {"bytes", 300}}).ok());
        if (i % 3 == 0) queue_->Pause(kKind, id, "").IgnoreError();
        if (i % 3 == 0) queue_->Resume(kKind, id, "").IgnoreError();
        if (i % 4 == 0) queue_->Cancel(kKind, id, "").IgnoreError();
        queue_->List(kKind);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Job& job : queue_->List(kKind)) {
    const Job ended = WaitFor(job.id, [&](const Job& now) {
      if (now.state == JobState::kPaused) queue_->Resume(kKind, job.id, "").IgnoreError();
      return HasEnded(now.state);
    });
    EXPECT_NE(ended.state, JobState::kFailed);
  }
  EXPECT_EQ(world_.ledger.used(), 0);
  EXPECT_LE(world_.ledger.peak(), 1000);
}

}  // namespace
}  // namespace whipsnake::server
