// What the calls that generate share: from the parameters to a stream of the engine's, its pieces
// as messages, its end as a status and one line in the log.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "engine/generate/generator.h"
#include "server/registry/model_registry.h"
#include "server/registry/state_store.h"
#include "server/rpc/active_calls.h"
#include "server/rpc/compile_pool.h"
#include "server/rpc/generation_request.h"
#include "server/rpc/refusal.h"
#include "whipsnake/v1/generation.pb.h"

namespace whipsnake::server {

// What the generation service works with. All outlive its calls.
struct GenerationEnvironment {
  ModelRegistry* models = nullptr;
  ActiveCalls* active_calls = nullptr;
  StateStore* states = nullptr;
  GenerationLimits limits;
  CompilePool* compile_pool = nullptr;
  // How long a client may take to read what is left of a stream at its end.
  std::chrono::milliseconds end_timeout{0};
};

// How a call ends.
struct GenerationEnd {
  absl::Status status;  // what the client gets
  engine::Finished finished;
  // With OK: the completions to be returned, by their index in `finished`, the best first where
  // there was a choice; and their states, where they were to be saved.
  std::vector<int> chosen;
  std::vector<StateInfo> states;
};

class GenerationCall : public AbortableCall {
 public:
  // `context` outlives the call.
  GenerationCall(const GenerationEnvironment& environment, GenerationKind kind,
                 grpc::CallbackServerContext* context);
  ~GenerationCall() override;

  // Whether Start would compile a structured output, which may take long. Where the output is
  // compiled already, it and the model are kept for Start, which is to follow at once.
  bool MustCompile(const v1::GenerationParameters& parameters);
  // Whom the request counts for: the client that it names, or the host that it comes from.
  std::string ClientOf(const v1::GenerationParameters& parameters) const;
  CompilePool& compile_pool() const { return *environment_.compile_pool; }

  // Checks, resolves and queues the request, if all is well `so_far`; `method` is for the log.
  // `on_ready` as in engine::Generator::Submit; it may be called before Start returns. Once, before
  // all else. Throws nothing once the engine has the request.
  absl::Status Start(std::string method, const absl::Status& so_far,
                     const v1::GenerationParameters& parameters, std::function<void()> on_ready);
  // After Start, once: how gRPC is told of the end.
  grpc::Status EndWith(const absl::Status& status) const {
    return EndCall(context_, request_id_, status);
  }

  // After a Start that succeeded, by one thread at a time:
  engine::GenerationStream::Event Take() { return stream_->Take(); }
  bool PollDone() { return stream_->PollDone(); }
  const ResolvedGeneration& resolved() const { return resolved_; }
  // Saves the states that are to be saved, releases the model and says how the call ends: on the
  // spot, or, where there are files to be written, later on a thread of the store's. `event` has
  // `done`.
  void Finish(const engine::GenerationStream::Event& event,
              std::function<void(const GenerationEnd&)> done);

  // Writes the log line, which may block: call it when all is over, on a thread of gRPC's.
  void LogEnd() const;

  // The client has gone, or its deadline has passed. From any thread, also before or after all
  // else.
  void Cancel();
  // The server must end: as Cancel, but the client is told UNAVAILABLE.
  void Abort() override;
  // Something that the engine made is lost: as Cancel, but the client is told `why`, however the
  // engine ends.
  void Fail(const absl::Status& why);

  v1::TokenLogprobs ToProto(const engine::SampledToken& token) const;

 private:
  // An error where the client has gone or its deadline has passed while it waited for its start.
  absl::Status CheckWanted() const;
  absl::Status Admit(const v1::GenerationParameters& parameters, std::function<void()> on_ready);
  absl::Status Submit(const v1::GenerationParameters& parameters, std::function<void()> on_ready);

  std::string_view Prefix() const;  // of the parameters' fields in the request
  void Stop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Status StatusOf(const engine::GenerationStream::Event& event) const;
  std::vector<int> Choose(const engine::Finished& finished) const;
  void SaveStates(std::shared_ptr<GenerationEnd> end,
                  std::function<void(const GenerationEnd&)> done);

  const GenerationEnvironment environment_;
  const GenerationKind kind_;
  grpc::CallbackServerContext* const context_;
  std::string method_, request_id_;
  const engine::Clock::time_point arrival_ = engine::Clock::now();
  const engine::Clock::time_point deadline_;
  bool entered_ = false;
  std::optional<ModelHandle> model_;
  std::shared_ptr<engine::Constraint> compiled_;  // of the model; null: not known to be
  ResolvedGeneration resolved_;
  absl::Status refusal_;  // of Start
  std::optional<engine::Finished> finished_;
  absl::Status failure_;  // the engine's
  double seconds_ = 0;    // arrival to Finish
  std::atomic<bool> aborted_{false};
  StateRetention retention_;
  mutable engine::Mutex mutex_;  // against Cancel, which comes from any thread
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<engine::GenerationStream> stream_;
};

v1::FinishReason ToProto(engine::FinishReason reason);
v1::Usage ToProto(const engine::Usage& usage);
v1::Timings ToProto(const engine::Timings& timings);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_
