#include "engine/generate/stream.h"

#include <iterator>
#include <utility>

namespace whipsnake::engine {

GenerationStream::Event BufferedStream::Take() {
  std::lock_guard lock(mutex_);
  waiting_ = false;
  return std::exchange(event_, Event());
}

void BufferedStream::Start() {
  Update([](Event& event) { event.started = true; });
}

void BufferedStream::Append(Delta delta) {
  Update([&](Event& event) {
    event.delta.text += delta.text;
    event.delta.token_ids.insert(event.delta.token_ids.end(), delta.token_ids.begin(),
                                 delta.token_ids.end());
    std::move(delta.logprobs.begin(), delta.logprobs.end(),
              std::back_inserter(event.delta.logprobs));
  });
}

void BufferedStream::Finish(absl::Status status, const Finished& finished) {
  Update([&](Event& event) {
    event.done = true;
    event.status = std::move(status);
    event.finished = finished;
  });
}

template <typename Change>
void BufferedStream::Update(Change change) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    change(event_);
    wake = !std::exchange(waiting_, true);
  }
  if (wake) on_ready_();
}

}  // namespace whipsnake::engine
