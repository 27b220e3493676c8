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

void Notifier::Post(Callback callback) {
  MutexLock lock(mutex_);
  posted_.push_back(std::move(callback));
  if (posted_.size() == 1) wake_.NotifyOne();
}

void Notifier::Loop() {
  std::vector<Callback> callbacks;
  MutexLock lock(mutex_);
  while (true) {
    while (!stopping_ && posted_.empty()) wake_.Wait(mutex_);
    if (posted_.empty()) return;
    callbacks.swap(posted_);
    lock.Unlock();
    // A receiver reports its own errors. An exception that it lets through must not end this
    // thread.
    for (const Callback& callback : callbacks) CatchExceptions(*callback).IgnoreError();
    callbacks.clear();
    lock.Lock();
  }
}

}  // namespace whipsnake::engine
