#include "server/rpc/latest_stream.h"

#include <utility>

#include "server/errors.h"
#include "server/rpc/make_end.h"

namespace whipsnake::server {

void LatestStream::Pump() {
  grpc::Status end;
  Step step = Step::kEnd;
  {
    engine::MutexLock lock(mutex_);
    if (writing_ || finished_) return;
    end = MakeEnd([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (gone_) return ToGrpc(absl::CancelledError("the client disconnected"));
      const absl::StatusOr<Step> next = Next(current_);
      if (!next.ok()) return ToGrpc(next.status());
      if (*next == Step::kWrite) OnWriting();
      step = *next;
      return grpc::Status::OK;
    });
    if (step == Step::kWait) return;
    writing_ = step == Step::kWrite;
    finished_ = step == Step::kEnd;
  }
  // Outside the lock: the flags keep other threads away, and gRPC may destroy this object before
  // Finish returns.
  if (step == Step::kWrite) {
    StartWrite(&current_);
  } else {
    Finish(std::move(end));
  }
}

void LatestStream::End(grpc::Status status) {
  {
    engine::MutexLock lock(mutex_);
    finished_ = true;
  }
  Finish(std::move(status));
}

void LatestStream::OnWriteDone(bool ok) {
  {
    engine::MutexLock lock(mutex_);
    writing_ = false;
    OnWritten();
    if (!ok) gone_ = true;
  }
  Pump();
}

void LatestStream::OnCancel() {
  {
    engine::MutexLock lock(mutex_);
    gone_ = true;
  }
  Pump();
}

void LatestStream::OnDone() {
  OnEnd();
  // Orders this after the last Pump, also for ThreadSanitizer.
  { engine::MutexLock lock(mutex_); }
  self_.reset();
}

}  // namespace whipsnake::server
