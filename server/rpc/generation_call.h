// The common part of all calls that generate: turns the parameters into a stream of the engine, the
// stream's output into messages, and its end into a status.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_

#include <grpcpp/server_context.h>

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
#include "engine/generate/generation_parameters.h"
#include "engine/generate/generator.h"
#include "server/live_limits.h"
#include "server/registry/model_registry.h"
#include "server/registry/state_store.h"
#include "server/rpc/active_calls.h"
#include "server/rpc/end_timeout.h"
#include "server/rpc/generation_request.h"
#include "server/rpc/make_end.h"
#include "server/work/task_pool.h"
#include "whipsnake/v1/generation.pb.h"

namespace whipsnake::server {

// What the generation service uses. All pointers must outlive its calls.
struct GenerationEnvironment {
  ModelRegistry* models = nullptr;
  ActiveCalls* active_calls = nullptr;
  StateStore* states = nullptr;
  const LiveLimits* limits = nullptr;
  TaskPool* compile_pool = nullptr;
  // How long a client may take to read the rest of a stream after its end.
  std::chrono::milliseconds end_timeout{30'000};
};

// The result of a call.
struct GenerationEnd {
  absl::Status status;  // the client's status
  engine::Finished finished;
  // With OK: the completions to return, as indices into `finished`, best first if only the best are
  // returned; and their saved states, if they were to be saved.
  std::vector<int> chosen;
  std::vector<StateInfo> states;
};

class GenerationCall : public AbortableCall {
 public:
  // `context` must outlive the call.
  GenerationCall(const GenerationEnvironment& environment, engine::GenerationKind kind,
                 grpc::CallbackServerContext* context);
  ~GenerationCall() override;

  // Returns whether Start would have to compile a structured output, which may take long. If the
  // output is already compiled, it and the model are held for Start, which must follow at once.
  bool MustCompile(const v1::GenerationParameters& parameters);
  // The model that the request names, or that of the state that it continues.
  absl::StatusOr<ModelHandle> AcquireModel(const v1::GenerationParameters& parameters) const;
  // Counts a request that was refused before Start, if it is for a model that exists.
  void CountRejection(const v1::GenerationParameters& parameters, const absl::Status& status) const;
  // Returns the client that the request counts for: the one it names, or the host it comes from.
  std::string ClientOf(const v1::GenerationParameters& parameters) const;
  TaskPool& compile_pool() const { return *environment_.compile_pool; }

  // Checks, resolves and queues the request, unless `so_far` is an error. `on_ready` is as in
  // engine::Generator::Submit, and may be called before Start returns. Called once, before the
  // functions below. Does not throw once the engine has the request.
  absl::Status Start(const absl::Status& so_far, const v1::GenerationParameters& parameters,
                     std::function<void()> on_ready);
  // Returns the status for gRPC's Finish. Called once, after Start.
  // Without memory for it, a bare RESOURCE_EXHAUSTED.
  grpc::Status EndWith(const absl::Status& status) const;

  // The following functions may be called after a successful Start, by one thread at a time.
  engine::GenerationStream::Event Take() { return stream_->Take(); }
  bool PollDone() { return stream_->PollDone(); }
  const engine::ResolvedGeneration& resolved() const { return resolved_; }  // without its request
  const v1::ResolvedParameters& resolved_parameters() const { return resolved_parameters_; }
  // Saves the states, if requested, releases the model and passes the result to `done`: before it
  // returns, or later on the state store's thread if files are written. `event` must have `done`
  // set.
  void Finish(const engine::GenerationStream::Event& event,
              std::function<void(const GenerationEnd&)> done);

  // Gives the client GenerationEnvironment::end_timeout, from now on, to take what is left; then
  // the call is cancelled. By one thread at a time.
  void RestartEndTimeout();

  // The call is over. Call it after everything else.
  void Close() { end_timeout_.Stop(); }

  // The client has gone, or its deadline has passed. Thread-safe; may also be called before or
  // after all other functions.
  void Cancel();
  // Like Cancel, but because the server stops: the client receives UNAVAILABLE. A call that has
  // ended and waits for its client to read is cut.
  void Abort() override;
  // Like Cancel, but because a result of the engine was lost: the client receives `why`, however
  // the engine ends.
  void Fail(const absl::Status& why);

  v1::TokenLogprobs ToProto(const engine::SampledToken& token) const;

 private:
  // Returns an error if the client left or its deadline passed before the call was started.
  absl::Status CheckWanted() const;
  absl::Status Admit(const v1::GenerationParameters& parameters, std::function<void()> on_ready);
  absl::Status Submit(const v1::GenerationParameters& parameters, std::function<void()> on_ready);

  std::string_view Prefix() const;  // of the parameters' field names in errors
  void Stop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Status StatusOf(const engine::GenerationStream::Event& event) const;
  std::vector<int> Choose(const engine::Finished& finished) const;
  void SaveStates(std::shared_ptr<GenerationEnd> end,
                  std::function<void(const GenerationEnd&)> done);

  const GenerationEnvironment environment_;
  const engine::GenerationKind kind_;
  grpc::CallbackServerContext* const context_;
  const engine::Clock::time_point arrival_ = engine::Clock::now();
  const engine::Clock::time_point deadline_;
  bool entered_ = false;
  std::optional<ModelHandle> model_;
  std::shared_ptr<engine::Constraint> compiled_;  // for the model; null: not found compiled
  engine::ResolvedGeneration resolved_;
  v1::ResolvedParameters resolved_parameters_;
  std::atomic<bool> aborted_{false};
  StateRetention retention_;
  mutable engine::Mutex mutex_;  // Cancel is called on any thread
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // the engine's last event was taken
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<engine::GenerationStream> stream_;
  EndTimeout end_timeout_;
};

v1::FinishReason ToProto(engine::FinishReason reason);
v1::Usage ToProto(const engine::Usage& usage);
v1::Timings ToProto(const engine::Timings& timings);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_CALL_H_
