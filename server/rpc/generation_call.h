// What both forms of the Generate call share: from the parameters to a stream of the engine's, its
// pieces as messages, its end as a status and one line in the log.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/status/status.h"
#include "engine/generate/generator.h"
#include "server/registry/model_registry.h"
#include "server/rpc/active_calls.h"
#include "server/rpc/generation_request.h"
#include "whipsnake/v1/generation.pb.h"

namespace whipsnake::server {

// What the generation service works with. All outlive its calls.
struct GenerationEnvironment {
  ModelRegistry* models = nullptr;
  ActiveCalls* active_calls = nullptr;
  GenerationLimits limits;
};

class GenerationCall : public AbortableCall {
 public:
  explicit GenerationCall(const GenerationEnvironment& environment) : environment_(environment) {}
  ~GenerationCall() override;

  // Checks, resolves and queues the request. `peer`: where it comes from, as gRPC says it.
  // `on_ready` as in engine::Generator::Submit; it may be called before Start returns. Once, before
  // all else.
  absl::Status Start(const v1::GenerationParameters& parameters,
                     std::chrono::system_clock::time_point deadline, const std::string& peer,
                     std::function<void()> on_ready);

  // After a Start that succeeded, by one thread at a time:
  engine::GenerationStream::Event Take() { return stream_->Take(); }
  const ResolvedGeneration& resolved() const { return resolved_; }
  // Releases the model. `event` has `done`. The status is what the client gets.
  absl::Status Finish(const engine::GenerationStream::Event& event);

  // Writes the log line, which may block: call it when all is over, on a thread of gRPC's.
  void LogEnd() const;

  // The client has gone, or its deadline has passed. From any thread, also before or after all
  // else.
  void Cancel();
  // The server must end: as Cancel, but the client is told UNAVAILABLE.
  void Abort() override;

  v1::TokenLogprobs ToProto(const engine::SampledToken& token) const;

 private:
  absl::Status Submit(const v1::GenerationParameters& parameters, const std::string& peer,
                      std::function<void()> on_ready);

  const GenerationEnvironment environment_;
  const engine::Clock::time_point arrival_ = engine::Clock::now();
  engine::Clock::time_point deadline_ = engine::Clock::time_point::max();
  bool entered_ = false;
  std::optional<ModelHandle> model_;
  ResolvedGeneration resolved_;
  absl::Status refusal_;  // of Start, once the model was known
  std::optional<engine::Finished> finished_;
  absl::Status failure_;  // the engine's
  double seconds_ = 0;    // arrival to Finish
  std::atomic<bool> aborted_{false};
  std::mutex mutex_;  // guards the two below against Cancel
  bool cancelled_ = false;
  std::shared_ptr<engine::GenerationStream> stream_;
};

v1::FinishReason ToProto(engine::FinishReason reason);
v1::Usage ToProto(const engine::Usage& usage);
v1::Timings ToProto(const engine::Timings& timings);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_
