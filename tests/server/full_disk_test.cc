// Calls about jobs on a disk that is full, and then is not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "server/errors.h"
#include "server/jobs/job_queue.h"
#include "server/store/sqlite_store.h"
#include "tests/server/faulty_disk.h"
#include "tests/server/faulty_vfs.h"

namespace whipsnake::server {
namespace {

constexpr char kIdle[] = "idle";

// Jobs that never run: the queue is not started, so all accesses of the disk are the test's.
class IdleKind final : public JobKind {
 public:
  std::string_view name() const override { return kIdle; }
  std::string_view id_prefix() const override { return "i"; }
  bool IsValid(const nlohmann::json&) const override { return true; }
  absl::Status Prepare(const Job&, JobRun&, Preparation&) override { return absl::OkStatus(); }
  absl::StatusOr<nlohmann::json> Run(const Job&, JobRun&) override { return nlohmann::json(); }
  void RemoveFiles(const std::string&) override {}
  void Sweep(const std::set<std::string>&) override {}
};

class FullDiskTest : public testing::Test {
 protected:
  FullDiskTest() { Open(); }

  void Open() {
    queue_.reset();
    store_ = nullptr;
    store_ = *SqliteStore::Open("store.db", {.sqlite = {.vfs = vfs_.name()}});
    std::vector<std::unique_ptr<JobKind>> kinds;
    kinds.push_back(std::make_unique<IdleKind>());
    queue_ = *JobQueue::Open(store_.get(), &ledger_, std::move(kinds), nullptr);
  }

  absl::StatusOr<Job> Create(const std::string& id) {
    return queue_->Create({.kind = kIdle, .id = id, .labels = {}, .request = {{"text", id}}});
  }

  // What clients see of all jobs and their events.
  std::string Shown() {
    std::string text;
    for (const Job& job : queue_->List(kIdle)) {
      absl::StrAppend(&text, job.id, " ", engine::ToAbsl(Name(job.state)), " ", job.etag(), ":");
      const JobEvents page = *queue_->Events(kIdle, job.id, 0, 100);
      for (const JobEvent& event : page.events) {
        absl::StrAppend(&text, " ", event.id, " ", event.values.dump());
      }
      text += "\n";
    }
    return text;
  }

  // The call is refused while the disk is full, changes nothing, also for the next start, and tells
  // the operator; with room it succeeds.
  template <typename Call>
  void Check(const char* name, Call call) {
    SCOPED_TRACE(name);
    const std::string before = Shown();
    disk_.Fail({.error = ENOSPC, .syncs = false, .repeats = true});
    testing::internal::CaptureStderr();
    const absl::Status refused = call();
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(disk_.EndFault());
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_EQ(ReasonOf(refused), "STORAGE_FULL");
    EXPECT_EQ(engine::ClientMessage(refused), "the server could not record the change");
    EXPECT_EQ(std::ranges::count(log, '\n'), 1) << log;
    EXPECT_THAT(log, testing::HasSubstr("error the server could not record the change"));
    EXPECT_EQ(Shown(), before);
    Open();
    EXPECT_EQ(Shown(), before);
    const absl::Status done = call();
    EXPECT_TRUE(done.ok()) << done;
    EXPECT_NE(Shown(), before);
  }

  FaultyDisk disk_{1};
  FaultyVfs vfs_{&disk_};
  engine::Ledger ledger_{1000};
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<JobQueue> queue_;
};

TEST_F(FullDiskTest, EveryChangeIsRefusedAndSucceedsOnceThereIsRoom) {
  ASSERT_TRUE(Create("other").ok());
  Check("create", [this] { return Create("job").status(); });
  Check("pause", [this] { return queue_->Pause(kIdle, "job", "").status(); });
  Check("resume", [this] { return queue_->Resume(kIdle, "job", "").status(); });
  Check("cancel", [this] { return queue_->Cancel(kIdle, "job", "").status(); });
  Check("delete", [this] { return queue_->Delete(kIdle, "job", ""); });
}

// What needs no room is answered.
TEST_F(FullDiskTest, WhatIsThereCanBeReadAndAskedForAgain) {
  ASSERT_TRUE(Create("job").ok());
  ASSERT_TRUE(queue_->Pause(kIdle, "job", "").ok());
  disk_.Fail({.error = ENOSPC, .syncs = false, .repeats = true});
  EXPECT_TRUE(Create("job").ok());
  EXPECT_TRUE(queue_->Pause(kIdle, "job", "").ok());
  EXPECT_EQ(queue_->Events(kIdle, "job", 0, 10)->events.size(), 2);
  disk_.EndFault();
}

}  // namespace
}  // namespace whipsnake::server
