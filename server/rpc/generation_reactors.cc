#include "server/rpc/generation_reactors.h"

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "engine/base/status.h"
#include "server/rpc/messages.h"

namespace whipsnake::server {
namespace {

using Event = engine::GenerationStream::Event;

// What both reactors are: a call that is begun, driven by the engine's on_ready, and deleted by
// gRPC's OnDone. The engine may still be inside on_ready when gRPC is done, so it holds a weak
// reference.
template <typename Reactor>
class GenerationReactor : public Reactor {
 public:
  explicit GenerationReactor(const GenerationEnvironment& environment) : call_(environment) {}

  // Parses and starts; then, or when that fails, the call takes its course.
  template <typename Request>
  static Reactor* Begin(std::shared_ptr<GenerationReactor> self,
                        grpc::CallbackServerContext* context, const grpc::ByteBuffer& bytes) {
    self->self_ = self;
    Request request;
    absl::Status status = ParseMessage(bytes, &request);
    if (status.ok()) {
      std::weak_ptr<GenerationReactor> weak = self;
      status =
          self->call_.Start(request.parameters(), context->deadline(), context->peer(), [weak] {
            if (const auto reactor = weak.lock()) reactor->Pump();
          });
    }
    if (status.ok()) {
      {
        std::lock_guard lock(self->mutex_);
        self->started_ = true;
      }
      self->Pump();
    } else {
      self->Finish(ToGrpc(status));
    }
    return self.get();
  }

  void OnCancel() override { call_.Cancel(); }

  void OnDone() override {
    {
      std::lock_guard lock(mutex_);  // after the last Pump, in a way that ThreadSanitizer sees too
      call_.LogEnd();
    }
    self_.reset();
  }

 protected:
  // Takes what the engine has and does what follows from it. From any thread.
  virtual void Pump() = 0;

  std::mutex mutex_;
  bool started_ = false;  // guarded by mutex_, as is what derived classes add
  GenerationCall call_;

 private:
  std::shared_ptr<GenerationReactor> self_;
};

class UnaryGeneration final : public GenerationReactor<grpc::ServerUnaryReactor> {
 public:
  UnaryGeneration(const GenerationEnvironment& environment, grpc::ByteBuffer* response)
      : GenerationReactor(environment), response_bytes_(response) {
    response_.add_completions();
  }

 private:
  void Pump() override {
    absl::Status status;
    {
      std::lock_guard lock(mutex_);
      if (!started_ || done_) return;
      const Event event = call_.Take();
      Collect(event);
      if (!event.done) return;
      done_ = true;
      status = call_.Finish(event);
      if (status.ok()) Complete(event.finished);
    }
    // Outside the lock: gRPC may be done with this object before Finish returns.
    this->Finish(ToGrpc(status));
  }

  void Collect(const Event& event) {
    v1::Completion& completion = *response_.mutable_completions(0);
    completion.mutable_text()->append(event.delta.text);
    if (call_.resolved().return_token_ids) {
      completion.mutable_token_ids()->Add(event.delta.token_ids.begin(),
                                          event.delta.token_ids.end());
    }
    for (const auto& token : event.delta.logprobs)
      *completion.add_logprobs() = call_.ToProto(token);
  }

  void Complete(const engine::Finished& finished) {
    *response_.mutable_resolved() = call_.resolved().parameters;
    response_.mutable_completions(0)->set_finish_reason(ToProto(finished.reason));
    *response_.mutable_usage() = ToProto(finished.usage);
    *response_.mutable_timings() = ToProto(finished.timings);
    *response_bytes_ = SerializeMessage(response_);
  }

  grpc::ByteBuffer* const response_bytes_;
  v1::GenerateResponse response_;
  bool done_ = false;
};

class StreamingGeneration final
    : public GenerationReactor<grpc::ServerWriteReactor<grpc::ByteBuffer>> {
 public:
  using GenerationReactor::GenerationReactor;

  void OnWriteDone(bool ok) override {
    if (!ok) call_.Cancel();  // nobody reads any more; the writes that follow fail at once
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
    }
    Pump();
  }

 private:
  void Pump() override {
    bool last = false;
    {
      std::lock_guard lock(mutex_);
      if (!started_ || writing_ || finished_) return;
      if (outbox_.empty() && !end_) Translate(call_.Take());
      if (outbox_.empty() && !end_) return;
      last = outbox_.empty();
      if (last) {
        finished_ = true;
      } else {
        writing_ = true;
        current_ = SerializeMessage(outbox_.front());
        outbox_.pop_front();
      }
    }
    // Outside the lock: the flag keeps other threads away, and gRPC may be done with this object
    // before Finish returns.
    if (last) {
      this->Finish(*end_);
    } else {
      this->StartWrite(&current_);
    }
  }

  // The messages that an event becomes and, with the last one, the end of the call.
  void Translate(const Event& event) {
    if (event.started) {
      auto* started = outbox_.emplace_back().mutable_started();
      *started->mutable_resolved() = call_.resolved().parameters;
      started->set_prompt_tokens(static_cast<int32_t>(call_.resolved().prompt_tokens));
    }
    AddDelta(event.delta);
    if (!event.done) return;
    const absl::Status status = call_.Finish(event);
    end_ = ToGrpc(status);
    if (!status.ok()) return;
    auto* finished = outbox_.emplace_back().mutable_finished();
    finished->add_finish_reasons(ToProto(event.finished.reason));
    *finished->mutable_usage() = ToProto(event.finished.usage);
    *finished->mutable_timings() = ToProto(event.finished.timings);
  }

  void AddDelta(const engine::Delta& delta) {
    v1::StreamGenerateResponse::Delta proto;
    proto.set_text(delta.text);
    if (call_.resolved().return_token_ids) {
      proto.mutable_token_ids()->Assign(delta.token_ids.begin(), delta.token_ids.end());
    }
    for (const auto& token : delta.logprobs) *proto.add_logprobs() = call_.ToProto(token);
    if (proto.ByteSizeLong() == 0) return;  // nothing that the client asked for
    proto.set_sequence_number(sequence_number_++);
    *outbox_.emplace_back().mutable_delta() = std::move(proto);
  }

  std::deque<v1::StreamGenerateResponse> outbox_;
  grpc::ByteBuffer current_;  // being written
  std::optional<grpc::Status> end_;
  bool writing_ = false;
  bool finished_ = false;
  int64_t sequence_number_ = 0;
};

}  // namespace

grpc::ServerUnaryReactor* StartUnaryGeneration(const GenerationEnvironment& environment,
                                               grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer& request,
                                               grpc::ByteBuffer* response) {
  return UnaryGeneration::Begin<v1::GenerateRequest>(
      std::make_shared<UnaryGeneration>(environment, response), context, request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartStreamingGeneration(
    const GenerationEnvironment& environment, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer& request) {
  return StreamingGeneration::Begin<v1::StreamGenerateRequest>(
      std::make_shared<StreamingGeneration>(environment), context, request);
}

}  // namespace whipsnake::server
