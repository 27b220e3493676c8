#include "server/work/disk_queue.h"

#include <future>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/guarded.h"

namespace whipsnake::server {
namespace {

absl::Status QueueFull(std::string_view owner, size_t limit) {
  return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                        "too many changes", engine::ToAbsl(owner),
                        " are waiting for the disk (limit ", limit, "); try again later")),
                    "STATE_QUEUE_FULL");
}

}  // namespace

DiskQueue::DiskQueue(std::function<void()> maintain, std::chrono::milliseconds period,
                     std::string_view name)
    : maintain_(std::move(maintain)), period_(period), name_(name) {
  worker_ = std::thread([this] { WorkLoop(); });
}

DiskQueue::~DiskQueue() {
  {
    engine::MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  worker_.join();
}

absl::Status DiskQueue::CheckRoom(const std::string& client) const {
  engine::MutexLock lock(mutex_);
  size_t all = 0, own = 0;
  for (const Task& task : tasks_) {
    if (task.client) ++all;
    if (task.client == client) ++own;
  }
  if (all >= kMaxWaiting) return QueueFull("", kMaxWaiting);
  if (own >= kMaxWaitingOfClient) return QueueFull(" of this client", kMaxWaitingOfClient);
  return absl::OkStatus();
}

void DiskQueue::Push(std::list<Task>& task) {
  engine::MutexLock lock(mutex_);
  tasks_.splice(tasks_.end(), task);
  wake_.NotifyOne();
}

void DiskQueue::Close() {
  std::list<Task> refused;
  {
    engine::MutexLock lock(mutex_);
    closed_ = true;
    for (auto task = tasks_.begin(); task != tasks_.end();) {
      const auto next = std::next(task);
      if (task->client) refused.splice(refused.end(), tasks_, task);
      task = next;
    }
  }
  for (const Task& task : refused) RunGuarded(name_, [&] { task.run(/*refuse=*/true); });
}

bool DiskQueue::closed() const {
  engine::MutexLock lock(mutex_);
  return closed_;
}

void DiskQueue::Flush() {
  std::promise<void> done;
  std::list<Task> task;
  task.push_back({std::nullopt, [&done](bool) { done.set_value(); }});
  Push(task);
  done.get_future().wait();
}

void DiskQueue::WorkLoop() {
  bool more = true;
  while (more) RunGuarded(name_, [&] { more = RunNext(); });
}

bool DiskQueue::RunNext() {
  maintain_();
  std::list<Task> task;
  bool refuse = false;
  {
    engine::MutexLock lock(mutex_);
    if (tasks_.empty()) {
      if (!stopping_) wake_.WaitUntil(mutex_, std::chrono::steady_clock::now() + period_);
      return !stopping_ || !tasks_.empty();
    }
    task.splice(task.end(), tasks_, tasks_.begin());
    refuse = closed_ && task.front().client;
  }
  task.front().run(refuse);
  return true;
}

}  // namespace whipsnake::server
