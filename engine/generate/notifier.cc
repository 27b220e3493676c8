#include "engine/generate/notifier.h"

#include <utility>

namespace whipsnake::engine {

Notifier::~Notifier() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Notifier::Post(Notice notice) {
  std::lock_guard lock(mutex_);
  posted_.push_back(std::move(notice));
  if (posted_.size() == 1) wake_.notify_one();
}

void Notifier::Loop() {
  std::vector<Notice> notices;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !posted_.empty(); });
    if (posted_.empty()) return;
    notices.swap(posted_);
    lock.unlock();
    for (const Notice& notice : notices) (*notice)();
    notices.clear();
    lock.lock();
  }
}

}  // namespace whipsnake::engine
