#include "engine/generate/stream.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace whipsnake::engine {

GenerationStream::Event BufferedStream::Take() {
  MutexLock lock(mutex_);
  has_event_ = false;
  unread_.store(0, std::memory_order_relaxed);
  return std::exchange(event_, Event());
}

bool BufferedStream::PollDone() {
  MutexLock lock(mutex_);
  notify_end_ = !done_;
  return done_;
}

void BufferedStream::Start(int64_t cached_prompt_tokens, Reservation booked) {
  booked_ = std::move(booked);
  Update([&](Event& event) {
    event.started = true;
    event.cached_prompt_tokens = cached_prompt_tokens;
  });
}

void BufferedStream::Append(Delta delta) {
  Update([&](Event& event) {
    unread_.fetch_add(std::ssize(delta.token_ids), std::memory_order_relaxed);
    const auto merged = std::ranges::find(event.deltas, delta.index, &Delta::index);
    if (merged == event.deltas.end()) {
      event.deltas.push_back(std::move(delta));
      return;
    }
    merged->text += delta.text;
    merged->token_ids.insert(merged->token_ids.end(), delta.token_ids.begin(),
                             delta.token_ids.end());
    std::ranges::move(delta.logprobs, std::back_inserter(merged->logprobs));
  });
}

void BufferedStream::Finish(absl::Status status, const Finished& finished, int64_t output_bytes) {
  booked_.ShrinkTo(output_bytes);
  Update([&](Event& event) {
    event.done = true;
    event.status = std::move(status);
    event.finished = finished;
  });
}

template <typename Change>
void BufferedStream::Update(Change change) {
  bool notify;
  {
    MutexLock lock(mutex_);
    change(event_);
    done_ = event_.done;
    notify = !std::exchange(has_event_, true) || (done_ && notify_end_);
  }
  if (notify) notifier_.Post(on_ready_);
}

}  // namespace whipsnake::engine
