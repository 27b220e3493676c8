#include "engine/generate/constraint_worker.h"

#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/thread_priority.h"

namespace whipsnake::engine {

ConstrainedOutput::ConstrainedOutput(std::shared_ptr<Constraint> constraint,
                                     ConstraintWorker* worker)
    : search_(std::make_shared<Search>()), worker_(worker) {
  search_->constraint = std::move(constraint);
}

ConstrainedOutput::~ConstrainedOutput() {
  if (search_ != nullptr) search_->abandoned.store(true, std::memory_order_relaxed);
}

void ConstrainedOutput::Advance(int32_t token) {
  search_->constraint->Advance(search_->cursor, token);
}

void ConstrainedOutput::StartSearch(int64_t tokens_left) {
  search_->tokens_left = tokens_left;
  search_->next = search_->constraint->FindIfKnown(search_->cursor, tokens_left);
  const bool known = *search_->next != nullptr;
  search_->done.store(known, std::memory_order_relaxed);
  if (!known) worker_->Post(search_);
}

bool ConstrainedOutput::ready() const { return search_->done.load(std::memory_order_acquire); }

const absl::StatusOr<std::shared_ptr<const NextTokens>>& ConstrainedOutput::next() const {
  return search_->next;
}

ConstraintWorker::ConstraintWorker(std::function<void()> on_found)
    : on_found_(std::move(on_found)), thread_([this] { Loop(); }) {}

ConstraintWorker::~ConstraintWorker() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyOne();
  thread_.join();
}

void ConstraintWorker::Post(Search search) {
  MutexLock lock(mutex_);
  searches_.push_back(std::move(search));
  wake_.NotifyOne();
}

void ConstraintWorker::Loop() {
  LowerThreadPriority();
  while (true) {
    Search search;
    {
      MutexLock lock(mutex_);
      while (searches_.empty() && !stopping_) wake_.Wait(mutex_);
      if (stopping_) return;
      search = std::move(searches_.front());
      searches_.pop_front();
    }
    if (search->abandoned.load(std::memory_order_relaxed)) continue;
    if (!Advance(search)) continue;  // queued again behind the other searches
    search->done.store(true, std::memory_order_release);
    on_found_();
  }
}

bool ConstraintWorker::Advance(const Search& search) {
  search->next = CatchExceptions(
      [&] { return search->constraint->Find(search->cursor, search->tokens_left); });
  if (!search->next.ok() || *search->next != nullptr) return true;
  const absl::Status posted = CatchExceptions([&] { Post(search); });
  if (posted.ok()) return false;
  search->next = posted;
  return true;
}

}  // namespace whipsnake::engine
