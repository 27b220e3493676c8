// Ctrl-C for commands that wait.
#ifndef WHIPSNAKE_SERVER_CLI_INTERRUPTION_H_
#define WHIPSNAKE_SERVER_CLI_INTERRUPTION_H_

#include <chrono>

#include "engine/base/mutex.h"
#include "server/cli/client.h"

namespace grpc {
class ClientContext;
}

namespace whipsnake::server {

// Ends what a command waits for on the first Ctrl-C. Must be constructed before gRPC's first thread
// (see OnInterrupt). Thread-safe.
class Interruption {
 public:
  Interruption() : on_interrupt_([this] { Raise(); }) {}

  bool raised() const;
  // Returns false, before the time is over, once Ctrl-C was pressed.
  bool Sleep(std::chrono::milliseconds duration);

  // Cancels the call of the context on Ctrl-C, while this object exists.
  class Cancels {
   public:
    Cancels(Interruption& interruption, grpc::ClientContext& context)
        : interruption_(interruption) {
      interruption_.SetCall(&context);
    }
    ~Cancels() { interruption_.SetCall(nullptr); }
    Cancels(const Cancels&) = delete;
    Cancels& operator=(const Cancels&) = delete;

   private:
    Interruption& interruption_;
  };

 private:
  void Raise();
  void SetCall(grpc::ClientContext* context);

  mutable engine::Mutex mutex_;
  engine::CondVar wake_;
  bool raised_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  const OnInterrupt on_interrupt_;  // destroyed first, because it uses the others
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_INTERRUPTION_H_
