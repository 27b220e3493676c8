// The buffer between a generator's thread and the consumer of a request.
#ifndef WHIPSNAKE_ENGINE_GENERATE_STREAM_H_
#define WHIPSNAKE_ENGINE_GENERATE_STREAM_H_

#include <atomic>
#include <functional>

#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/generate/generator.h"
#include "engine/generate/notifier.h"

namespace whipsnake::engine {

// Thread-safe for one producer and one consumer; any thread may cancel.
class BufferedStream : public GenerationStream {
 public:
  // `on_ready` is posted each time the buffer becomes non-empty, and as PollDone promises. The
  // notifier must outlive the producer's use of the stream.
  BufferedStream(std::function<void()> on_ready, Notifier* notifier)
      : on_ready_(std::make_shared<const std::function<void()>>(std::move(on_ready))),
        notifier_(*notifier) {}

  Event Take() override;
  bool PollDone() override;
  void Cancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // Tokens that have been appended and not yet taken.
  int64_t unread_tokens() const { return unread_.load(std::memory_order_relaxed); }

  // For the producer. Nothing may be added after Finish.
  // `booked` is the memory for the largest possible output. Finish reduces it to `output_bytes`,
  // which stay booked until the stream is destroyed.
  void Start(int64_t cached_prompt_tokens, Reservation booked);
  void Append(Delta delta);
  void Finish(absl::Status status, const Finished& finished, int64_t output_bytes);

 private:
  // Applies `change` to event_. Notifies the consumer if event_ was empty, or if it is now done and
  // the consumer asked for that.
  template <typename Change>
  void Update(Change change);

  const Notifier::Callback on_ready_;
  Notifier& notifier_;
  std::atomic<bool> cancelled_{false};
  std::atomic<int64_t> unread_{0};
  Reservation booked_;  // written only by the producer
  Mutex mutex_;
  Event event_ ABSL_GUARDED_BY(mutex_);             // everything since the last Take
  bool has_event_ ABSL_GUARDED_BY(mutex_) = false;  // event_ is not empty
  bool done_ ABSL_GUARDED_BY(mutex_) = false;       // Finish was called
  bool notify_end_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_STREAM_H_
