#include "engine/generate/notifier.h"

#include <utility>

#include "engine/base/exceptions.h"

namespace whipsnake::engine {

Notifier::~Notifier() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyOne();
  thread_.join();
}

void Notifier::Post(Notice notice) {
  MutexLock lock(mutex_);
  posted_.push_back(std::move(notice));
  if (posted_.size() == 1) wake_.NotifyOne();
}

void Notifier::Loop() {
  std::vector<Notice> notices;
  MutexLock lock(mutex_);
  while (true) {
    while (!stopping_ && posted_.empty()) wake_.Wait(mutex_);
    if (posted_.empty()) return;
    notices.swap(posted_);
    lock.Unlock();
    // A receiver reports its own errors. An exception that it lets through must not end this
    // thread.
    for (const Notice& notice : notices) CatchExceptions(*notice).IgnoreError();
    notices.clear();
    lock.Lock();
  }
}

}  // namespace whipsnake::engine
