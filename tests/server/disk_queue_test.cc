#include "server/work/disk_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <memory>
#include <stdexcept>
#include <vector>

namespace whipsnake::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class DiskQueueTest : public testing::Test {
 protected:
  static constexpr std::chrono::hours kPeriod{1};

  void Push(std::optional<std::string> client, std::function<void(bool refuse)> run) {
    std::list<DiskQueue::Task> task;
    task.push_back({std::move(client), std::move(run)});
    queue_->Push(task);
    EXPECT_THAT(task, IsEmpty());
  }
  // Pushes a task that records `number`, with a minus sign if it is refused.
  void PushNumber(std::optional<std::string> client, int number) {
    Push(std::move(client),
         [this, number](bool refuse) { run_.push_back(refuse ? -number : number); });
  }
  // Returns once the queue's thread waits for `release_`.
  void BlockWorker() {
    Push(std::nullopt, [this](bool) {
      blocked_.count_down();
      release_.wait();
    });
    blocked_.wait();
  }

  std::latch blocked_{1}, release_{1};
  std::vector<int> run_;
  std::unique_ptr<DiskQueue> queue_ = std::make_unique<DiskQueue>([] {}, kPeriod);
};

TEST_F(DiskQueueTest, RunsTasksInOrderAndAllBeforeItEnds) {
  BlockWorker();
  for (int i = 1; i <= 4; ++i) PushNumber("a", i);
  release_.count_down();
  queue_.reset();
  EXPECT_THAT(run_, ElementsAre(1, 2, 3, 4));
}

TEST_F(DiskQueueTest, BoundsTheTasksOfClients) {
  BlockWorker();
  for (size_t i = 0; i < DiskQueue::kMaxWaitingOfClient; ++i) {
    EXPECT_TRUE(queue_->CheckRoom("a").ok());
    PushNumber("a", 1);
    PushNumber(std::nullopt, 1);  // takes no share
  }
  const absl::Status own = queue_->CheckRoom("a");
  EXPECT_TRUE(absl::IsResourceExhausted(own));
  EXPECT_THAT(std::string(own.message()), HasSubstr("of this client"));
  for (const char* client : {"b", "c", "d"}) {
    EXPECT_TRUE(queue_->CheckRoom(client).ok());
    for (size_t i = 0; i < DiskQueue::kMaxWaitingOfClient; ++i) PushNumber(client, 1);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(queue_->CheckRoom("e")));
  release_.count_down();
  queue_->Flush();
  EXPECT_TRUE(queue_->CheckRoom("a").ok());
}

TEST_F(DiskQueueTest, CloseRefusesTheTasksOfClients) {
  BlockWorker();
  PushNumber("a", 1);
  PushNumber(std::nullopt, 2);
  EXPECT_FALSE(queue_->closed());
  queue_->Close();
  EXPECT_TRUE(queue_->closed());
  EXPECT_THAT(run_, ElementsAre(-1)) << "at once";
  PushNumber("a", 3);
  release_.count_down();
  queue_->Flush();
  EXPECT_THAT(run_, ElementsAre(-1, 2, -3));
}

TEST_F(DiskQueueTest, AnExceptionEndsOnlyItsTask) {
  Push("a", [](bool) { throw std::runtime_error("a fault"); });
  PushNumber("a", 1);
  queue_->Flush();
  EXPECT_THAT(run_, ElementsAre(1));
}

TEST_F(DiskQueueTest, MaintenanceMayPushTasks) {
  int pushed = 0;
  queue_ = std::make_unique<DiskQueue>(
      [&] {
        if (run_.empty() || pushed++ > 0) return;
        PushNumber(std::nullopt, 2);
      },
      kPeriod);
  PushNumber("a", 1);
  queue_->Flush();
  queue_.reset();
  EXPECT_THAT(run_, ElementsAre(1, 2));
}

}  // namespace
}  // namespace whipsnake::server
