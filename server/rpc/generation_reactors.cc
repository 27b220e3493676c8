#include "server/rpc/generation_reactors.h"

#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/rpc/messages.h"

namespace whipsnake::server {
namespace {

using Event = engine::GenerationStream::Event;

const v1::GenerationParameters& ParametersOf(const v1::GenerateRequest& request) {
  return request.parameters();
}

const v1::GenerationParameters& ParametersOf(const v1::StreamGenerateRequest& request) {
  return request.parameters();
}

v1::GenerationParameters ParametersOf(const v1::SaveStateRequest& request) {
  v1::GenerationParameters parameters;
  parameters.set_model(request.model());
  if (request.has_text()) parameters.set_text(request.text());
  if (request.has_token_ids()) *parameters.mutable_token_ids() = request.token_ids();
  *parameters.mutable_tokenization() = request.tokenization();
  parameters.set_state(request.state());
  *parameters.mutable_output()->mutable_save_state() = request.retention();
  parameters.set_priority(request.priority());
  parameters.set_client(request.client());
  parameters.set_request_id(request.request_id());
  return parameters;
}

// The base of the generation reactors: a call that is started, driven by the engine's on_ready, and
// released in gRPC's OnDone. The engine may still be inside on_ready when gRPC is done, so it holds
// a weak reference.
template <typename Reactor>
class GenerationReactor : public Reactor {
 public:
  GenerationReactor(const GenerationEnvironment& environment, engine::GenerationKind kind,
                    grpc::CallbackServerContext* context)
      : call_(environment, kind, context) {}

  // Calls `start`, which starts the call. An exception, such as one for exhausted memory, ends the
  // call: at once, or, if the engine already has the request, with the engine's last event.
  static void StartGuarded(GenerationReactor& self, const std::function<void()>& start) {
    const absl::Status status = engine::CatchExceptions(start);
    if (status.ok()) return;
    bool started = false;
    {
      engine::MutexLock lock(self.mutex_);
      started = self.started_;
    }
    if (started) {
      self.call_.Fail(status);
    } else {
      self.Finish(self.call_.EndWith(status));
    }
  }

  // Parses the request and starts the call, or ends it if parsing fails. If a structured output
  // must be compiled first, a thread of the pool starts the call.
  template <typename Request>
  static Reactor* Begin(std::shared_ptr<GenerationReactor> self,
                        const grpc::CallbackServerContext* context, const grpc::ByteBuffer& bytes) {
    self->self_ = self;
    Reactor* const reactor = self.get();
    const auto request = std::make_shared<Request>();
    const auto start = [self, request](const absl::Status& so_far) {
      StartGuarded(*self, [&] { self->Start(so_far, ParametersOf(*request)); });
    };
    bool compile = false;
    const absl::Status so_far = engine::CatchExceptions([&]() -> absl::Status {
      RETURN_IF_ERROR(ReceiveRequest(context, bytes, request.get()));
      const v1::GenerationParameters& parameters = ParametersOf(*request);
      compile = self->call_.MustCompile(parameters);
      if (!compile) return absl::OkStatus();
      const absl::Status queued = self->call_.compile_pool().Run(
          self->call_.ClientOf(parameters), [start] { start(absl::OkStatus()); });
      if (!queued.ok()) self->call_.CountRejection(parameters, queued);
      return queued;
    });
    if (!compile || !so_far.ok()) start(so_far);
    return reactor;
  }

  void OnCancel() override { call_.Cancel(); }

  void OnDone() override {
    {
      engine::MutexLock lock(mutex_);  // orders this after the last Pump, also for ThreadSanitizer
      call_.Close();
    }
    self_.reset();
  }

 protected:
  // Takes the engine's new events and acts on them. Thread-safe.
  virtual void Pump() = 0;

  // Calls `work`. If it throws, cancels the engine's request, and the call ends with that error.
  template <typename Work>
  void Guard(const Work& work) {
    const absl::Status status = engine::CatchExceptions(work);
    if (!status.ok()) call_.Fail(status);
  }

  // A reference that keeps this object alive. To be taken before gRPC's Finish is called.
  std::shared_ptr<GenerationReactor> self() const { return self_; }

  engine::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  GenerationCall call_;

 private:
  void Start(const absl::Status& so_far, const v1::GenerationParameters& parameters) {
    std::weak_ptr<GenerationReactor> weak = self_;
    const absl::Status status = call_.Start(so_far, parameters, [weak] {
      if (const auto reactor = weak.lock()) reactor->Guard([&] { reactor->Pump(); });
    });
    if (!status.ok()) {
      this->Finish(call_.EndWith(status));
      return;
    }
    {
      engine::MutexLock lock(mutex_);
      started_ = true;
    }
    Pump();
  }

  std::shared_ptr<GenerationReactor> self_;
};

// Collects the engine's output and answers when the engine is done.
class UnaryReactor : public GenerationReactor<grpc::ServerUnaryReactor> {
 public:
  UnaryReactor(const GenerationEnvironment& environment, engine::GenerationKind kind,
               grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
      : GenerationReactor(environment, kind, context), response_bytes_(response) {}

 protected:
  virtual void Collect(const Event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  // Returns the response of a successful call.
  virtual grpc::ByteBuffer MakeResponse(const GenerationEnd& end) = 0;

 private:
  void Pump() override {
    Event event;
    {
      engine::MutexLock lock(mutex_);
      if (!started_ || done_) return;
      event = call_.Take();
      Guard([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Collect(event); });
      if (!event.done) return;
      done_ = true;
    }
    // Outside the lock, because gRPC may destroy this object before Finish returns.
    call_.Finish(event, [this, self = this->self()](const GenerationEnd& end) {
      call_.RestartEndTimeout();
      absl::Status status = end.status;
      if (status.ok()) {
        status = engine::CatchExceptions([&] { *response_bytes_ = MakeResponse(end); });
      }
      this->Finish(call_.EndWith(status));
    });
  }

  grpc::ByteBuffer* const response_bytes_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

class UnaryGeneration final : public UnaryReactor {
 public:
  UnaryGeneration(const GenerationEnvironment& environment, grpc::CallbackServerContext* context,
                  grpc::ByteBuffer* response)
      : UnaryReactor(environment, engine::GenerationKind::kUnary, context, response) {}

 private:
  void Collect(const Event& event) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const engine::ResolvedGeneration& resolved = call_.resolved();
    for (const engine::Delta& delta : event.deltas) {
      while (std::ssize(completions_) <= delta.index) {
        completions_.emplace_back().set_text(resolved.echo);
      }
      v1::Completion& completion = completions_[delta.index];
      completion.mutable_text()->append(delta.text);
      if (resolved.return_token_ids) {
        completion.mutable_token_ids()->Add(delta.token_ids.begin(), delta.token_ids.end());
      }
      if (!resolved.return_logprobs) continue;
      for (const auto& token : delta.logprobs) *completion.add_logprobs() = call_.ToProto(token);
    }
  }

  grpc::ByteBuffer MakeResponse(const GenerationEnd& end) override {
    v1::GenerateResponse response;
    *response.mutable_resolved() = call_.resolved_parameters();
    for (const int index : end.chosen) {
      const int place = response.completions_size();
      v1::Completion& completion = *response.add_completions();
      completion = std::move(completions_[index]);
      completion.set_index(place);
      completion.set_finish_reason(ToProto(end.finished.completions[index].reason));
      if (place < std::ssize(end.states)) completion.set_state(end.states[place].handle);
    }
    *response.mutable_usage() = ToProto(end.finished.usage);
    *response.mutable_timings() = ToProto(end.finished.timings);
    return SerializeMessage(response);
  }

  std::vector<v1::Completion> completions_;
};

class StateSaving final : public UnaryReactor {
 public:
  StateSaving(const GenerationEnvironment& environment, grpc::CallbackServerContext* context,
              grpc::ByteBuffer* response)
      : UnaryReactor(environment, engine::GenerationKind::kSaveState, context, response) {}

 private:
  void Collect(const Event&) override {}

  grpc::ByteBuffer MakeResponse(const GenerationEnd& end) override {
    v1::SaveStateResponse response;
    *response.mutable_state() = ToProto(end.states.front());
    *response.mutable_usage() = ToProto(end.finished.usage);
    *response.mutable_timings() = ToProto(end.finished.timings);
    return SerializeMessage(response);
  }
};

class StreamingGeneration final
    : public GenerationReactor<grpc::ServerWriteReactor<grpc::ByteBuffer>> {
 public:
  StreamingGeneration(const GenerationEnvironment& environment,
                      grpc::CallbackServerContext* context)
      : GenerationReactor(environment, engine::GenerationKind::kStream, context) {}

  void OnWriteDone(bool ok) override {
    if (!ok) call_.Cancel();  // the client no longer reads; further writes fail at once
    {
      engine::MutexLock lock(mutex_);
      writing_ = false;
      if (end_) call_.RestartEndTimeout();  // for the next message
    }
    Guard([this] { Pump(); });
  }

 private:
  void Pump() override {
    std::optional<Event> ended;
    bool write = false, last = false;
    {
      engine::MutexLock lock(mutex_);
      if (!started_ || finished_) return;
      // Take the engine's last event at once, so that the model is released however slowly the
      // client reads.
      if (!ending_ && ((!writing_ && !HasMessage()) || call_.PollDone())) {
        Event event = call_.Take();
        Guard([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Translate(event); });
        ending_ = event.done;
        if (event.done) ended = std::move(event);
      }
      if (!writing_) {
        write = writing_ = SerializeNext();
        last = finished_ = !writing_ && end_.has_value();
      }
    }
    // Outside the lock: the flags keep other threads away, and gRPC may destroy this object before
    // Finish returns.
    if (write) this->StartWrite(&current_);
    if (ended) {
      call_.Finish(*ended, [this, self = this->self()](const GenerationEnd& end) { End(end); });
    } else if (last) {
      this->Finish(*end_);
    }
  }

  // Adds the messages for an event to the outbox.
  void Translate(const Event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (event.started) {
      auto* started = start_.emplace().mutable_started();
      *started->mutable_resolved() = call_.resolved_parameters();
      started->set_prompt_tokens(static_cast<int32_t>(call_.resolved().prompt_tokens));
      started->set_cached_prompt_tokens(static_cast<int32_t>(event.cached_prompt_tokens));
      if (!call_.resolved().echo.empty()) echoes_left_ = call_.resolved().n;
    }
    for (const engine::Delta& delta : event.deltas) {
      v1::StreamGenerateResponse message;
      if (FillDelta(delta, message.mutable_delta())) outbox_.push_back(std::move(message));
    }
  }

  // Called after the last event: queues the last message and the end of the call.
  void End(const GenerationEnd& end) {
    {
      engine::MutexLock lock(mutex_);
      absl::Status status = end.status;
      if (status.ok()) {
        status = engine::CatchExceptions([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { AddLast(end); });
      }
      end_ = call_.EndWith(status);
      call_.RestartEndTimeout();
    }
    Pump();
  }

  void AddLast(const GenerationEnd& end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    v1::StreamGenerateResponse message;
    auto* finished = message.mutable_finished();
    for (const int index : end.chosen) {
      finished->add_finish_reasons(ToProto(end.finished.completions[index].reason));
    }
    for (const StateInfo& state : end.states) finished->add_states(state.handle);
    *finished->mutable_usage() = ToProto(end.finished.usage);
    *finished->mutable_timings() = ToProto(end.finished.timings);
    outbox_.push_back(std::move(message));
  }

  // Returns false if the delta has nothing that the client requested.
  bool FillDelta(const engine::Delta& delta, v1::StreamGenerateResponse::Delta* proto) {
    proto->set_text(delta.text);
    if (call_.resolved().return_token_ids) {
      proto->mutable_token_ids()->Assign(delta.token_ids.begin(), delta.token_ids.end());
    }
    for (const auto& token : delta.logprobs) *proto->add_logprobs() = call_.ToProto(token);
    if (proto->ByteSizeLong() == 0) return false;
    proto->set_index(delta.index);
    return true;
  }

  bool HasMessage() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return start_ || echoes_left_ > 0 || !outbox_.empty();
  }

  // Takes the first message. An echo is made when its turn comes: all of them together would be n
  // times as large as the prompt.
  v1::StreamGenerateResponse NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    v1::StreamGenerateResponse message;
    if (start_) {
      message = *std::exchange(start_, std::nullopt);
    } else if (echoes_left_ > 0) {
      message.mutable_delta()->set_text(call_.resolved().echo);
      message.mutable_delta()->set_index(call_.resolved().n - echoes_left_--);
    } else {
      message = std::move(outbox_.front());
      outbox_.pop_front();
    }
    if (message.has_delta()) message.mutable_delta()->set_sequence_number(sequence_number_++);
    return message;
  }

  // Serializes the first message into current_. Returns false if there is none, or if there is no
  // memory for it: then the messages are dropped and the call ends with that error.
  bool SerializeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!HasMessage()) return false;
    const absl::Status status = engine::CatchExceptions(
        [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { current_ = SerializeMessage(NextMessage()); });
    if (status.ok()) return true;
    start_.reset();
    echoes_left_ = 0;
    outbox_.clear();
    call_.Fail(status);
    if (end_) end_ = call_.EndWith(status);
    return false;
  }

  std::optional<v1::StreamGenerateResponse> start_ ABSL_GUARDED_BY(mutex_);  // the first message
  int echoes_left_ ABSL_GUARDED_BY(mutex_) = 0;                              // come after it
  std::deque<v1::StreamGenerateResponse> outbox_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer current_;                     // owned by the thread that set writing_
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;  // the engine's last event was taken
  std::optional<grpc::Status> end_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t sequence_number_ = 0;
};

}  // namespace

grpc::ServerUnaryReactor* StartUnaryGeneration(const GenerationEnvironment& environment,
                                               grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer& request,
                                               grpc::ByteBuffer* response) {
  return UnaryGeneration::Begin<v1::GenerateRequest>(
      std::make_shared<UnaryGeneration>(environment, context, response), context, request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartStreamingGeneration(
    const GenerationEnvironment& environment, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer& request) {
  return StreamingGeneration::Begin<v1::StreamGenerateRequest>(
      std::make_shared<StreamingGeneration>(environment, context), context, request);
}

grpc::ServerUnaryReactor* StartSavingState(const GenerationEnvironment& environment,
                                           grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer& request,
                                           grpc::ByteBuffer* response) {
  return StateSaving::Begin<v1::SaveStateRequest>(
      std::make_shared<StateSaving>(environment, context, response), context, request);
}

v1::State ToProto(const StateInfo& info) {
  v1::State proto;
  proto.set_handle(info.handle);
  proto.set_model(info.model);
  proto.set_model_digest(info.digest);
  proto.set_tokens(info.tokens);
  proto.set_position(info.position);
  proto.set_size_bytes(info.bytes);
  *proto.mutable_create_time() = ToTimestamp(info.created);
  *proto.mutable_expire_time() = ToTimestamp(info.expires);
  proto.set_on_disk(info.on_disk);
  proto.set_name(info.name);
  return proto;
}

}  // namespace whipsnake::server
