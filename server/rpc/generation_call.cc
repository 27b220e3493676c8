#include "server/rpc/generation_call.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/rpc/call_context.h"
#include "server/rpc/messages.h"
#include "server/rpc/peer.h"

namespace whipsnake::server {
namespace {

using Event = engine::GenerationStream::Event;

}  // namespace

GenerationCall::GenerationCall(const GenerationEnvironment& environment,
                               engine::GenerationKind kind, grpc::CallbackServerContext* context)
    : environment_(environment),
      kind_(kind),
      context_(context),
      deadline_(MonotonicDeadline(context->deadline())),
      end_timeout_(context) {}

GenerationCall::~GenerationCall() {
  if (entered_) environment_.active_calls->Remove(this);
}

bool GenerationCall::MustCompile(const v1::GenerationParameters& parameters) {
  const auto spec = ConstraintSpecOf(parameters.structured());
  if (!spec || spec->bytes() > engine::kMaxSpecBytes) return false;
  absl::StatusOr<ModelHandle> model = AcquireModel(parameters);
  if (!model.ok()) return false;
  compiled_ = model->constraints().Find(*spec);
  if (compiled_ == nullptr) return true;
  model_.emplace(*std::move(model));
  return false;
}

absl::StatusOr<ModelHandle> GenerationCall::AcquireModel(
    const v1::GenerationParameters& parameters) const {
  if (parameters.model().empty() && !parameters.state().empty()) {
    // The same files may be served under another name by now: then the server's one model counts,
    // and the state's digest decides.
    const absl::StatusOr<StateInfo> state = environment_.states->Get(parameters.state());
    if (state.ok()) {
      absl::StatusOr<ModelHandle> model = environment_.models->Acquire(state->model);
      if (!absl::IsNotFound(model.status())) return model;
    }
  }
  return environment_.models->Acquire(parameters.model());
}

std::string GenerationCall::ClientOf(const v1::GenerationParameters& parameters) const {
  return parameters.client().empty() ? PeerHost(*context_) : parameters.client();
}

absl::Status GenerationCall::Start(const absl::Status& so_far,
                                   const v1::GenerationParameters& parameters,
                                   std::function<void()> on_ready) {
  RETURN_IF_ERROR(so_far);
  RETURN_IF_ERROR(CheckWanted());
  return Admit(parameters, std::move(on_ready));
}

void GenerationCall::CountRejection(const v1::GenerationParameters& parameters,
                                    const absl::Status& status) const {
  const absl::StatusOr<ModelHandle> model = AcquireModel(parameters);
  if (model.ok()) model->metrics().OnRejected(status);
}

absl::Status GenerationCall::CheckWanted() const {
  if (engine::Clock::now() >= deadline_) {
    return absl::DeadlineExceededError("the deadline passed before the request was started");
  }
  engine::MutexLock lock(mutex_);
  return cancelled_ ? absl::CancelledError("the client cancelled the call") : absl::OkStatus();
}

absl::Status GenerationCall::Admit(const v1::GenerationParameters& parameters,
                                   std::function<void()> on_ready) {
  if (!model_) {
    absl::StatusOr<ModelHandle> model = AcquireModel(parameters);
    if (!model.ok()) return engine::WithFieldPrefix(model.status(), Prefix());
    model_.emplace(*std::move(model));
  }
  if (CallRecord* record = RecordOf(context_)) record->model = model_->name();
  const absl::Status status =
      engine::CatchExceptions([&] { return Submit(parameters, std::move(on_ready)); });
  if (!status.ok()) {
    model_->metrics().OnRejected(status);
    model_.reset();
  }
  return status;
}

std::string_view GenerationCall::Prefix() const {
  return kind_ == engine::GenerationKind::kSaveState ? "" : "parameters.";
}

absl::Status GenerationCall::Submit(const v1::GenerationParameters& parameters,
                                    std::function<void()> on_ready) {
  RETURN_IF_ERROR(environment_.active_calls->Add(this));
  entered_ = true;
  engine::FieldErrors errors;
  retention_ = RetentionOf(parameters.output().save_state());
  if (parameters.output().has_save_state()) {
    errors.Add(engine::WithFieldPrefix(environment_.states->Validate(retention_),
                                       kind_ == engine::GenerationKind::kSaveState
                                           ? "retention."
                                           : "parameters.output.save_state."));
  }
  engine::GenerationParameters wanted = ToEngine(parameters);
  if (!parameters.state().empty()) {
    ASSIGN_OR_RETURN(wanted.resume, environment_.states->Load(parameters.state(), model_->model(),
                                                              model_->digest()));
  }
  auto resolved =
      engine::ResolveGeneration(std::move(wanted), {.kind = kind_,
                                                    .info = model_->info(),
                                                    .tokenizer = model_->tokenizer(),
                                                    .defaults = model_->defaults(),
                                                    .constraints = model_->constraints(),
                                                    .limits = environment_.limits->Get(),
                                                    .compiled = std::exchange(compiled_, nullptr)});
  errors.Add(engine::WithFieldPrefix(resolved.status(), Prefix()));
  RETURN_IF_ERROR(errors.status());
  resolved_ = *std::move(resolved);
  resolved_parameters_ = ResolvedParametersOf(resolved_);
  resolved_parameters_.set_model(model_->name());
  const CallRecord* record = RecordOf(context_);
  resolved_parameters_.set_request_id(record != nullptr ? record->request_id
                                                        : parameters.request_id());
  engine::GenerationRequest request = std::move(resolved_.request);
  request.arrival = arrival_;
  request.deadline = deadline_;
  request.client = ClientOf(parameters);
  ASSIGN_OR_RETURN(auto stream,
                   model_->generator().Submit(std::move(request), std::move(on_ready)));
  engine::MutexLock lock(mutex_);
  stream_ = std::move(stream);
  if (cancelled_) stream_->Cancel();
  return absl::OkStatus();
}

void GenerationCall::Cancel() {
  // gRPC also cancels at the deadline, which a client may reach a little earlier by its own clock.
  // The engine detects deadlines itself and reports them as such.
  constexpr std::chrono::milliseconds kClocksDiffer{20};
  if (!aborted_ && engine::Clock::now() >= deadline_ - kClocksDiffer) return;
  engine::MutexLock lock(mutex_);
  Stop();
}

void GenerationCall::Stop() {
  cancelled_ = true;
  if (stream_ != nullptr) stream_->Cancel();
}

void GenerationCall::Fail(const absl::Status& why) {
  engine::MutexLock lock(mutex_);
  lost_ = why;
  Stop();
}

void GenerationCall::Abort() {
  aborted_ = true;
  Cancel();
  engine::MutexLock lock(mutex_);
  if (ended_) end_timeout_.Expire();
}

void GenerationCall::RestartEndTimeout() {
  // To the clients of a server that stops, enough to read a status.
  constexpr std::chrono::milliseconds kAborted{1000};
  end_timeout_.Start(aborted_ ? std::min(kAborted, environment_.end_timeout)
                              : environment_.end_timeout);
}

grpc::Status GenerationCall::EndWith(const absl::Status& status) const {
  return MakeEnd([&] { return ToGrpc(status); });
}

absl::Status GenerationCall::StatusOf(const Event& event) const {
  {
    engine::MutexLock lock(mutex_);
    if (!lost_.ok()) return lost_;
  }
  const absl::Status too_late =
      absl::DeadlineExceededError("the deadline passed during generation");
  switch (event.finished.reason) {
    case engine::FinishReason::kDeadline:
      return too_late;
    case engine::FinishReason::kCancelled: {
      if (aborted_ || absl::IsUnavailable(event.status)) return DrainingError();
      if (engine::Clock::now() >= deadline_) return too_late;
      engine::MutexLock lock(mutex_);
      if (cancelled_) return absl::CancelledError("the client cancelled the call");
      return WithReason(event.status, "SLOW_READER");
    }
    default:
      return absl::IsDataLoss(event.status) ? WithReason(event.status, "WEIGHTS_CHANGED")
                                            : event.status;
  }
}

std::vector<int> GenerationCall::Choose(const engine::Finished& finished) const {
  std::vector<int> indices(finished.completions.size());
  std::iota(indices.begin(), indices.end(), 0);
  if (std::ssize(indices) == resolved_.n) return indices;
  const auto mean_logprob = [&](int index) {
    const engine::CompletionEnd& completion = finished.completions[index];
    return completion.logprob_sum / std::max<int64_t>(completion.generated_tokens, 1);
  };
  std::ranges::stable_sort(indices, std::greater(), mean_logprob);
  indices.resize(resolved_.n);
  return indices;
}

void GenerationCall::Finish(const Event& event, std::function<void(const GenerationEnd&)> done) {
  {
    engine::MutexLock lock(mutex_);
    ended_ = true;
  }
  std::shared_ptr<GenerationEnd> end;
  const absl::Status made = engine::CatchExceptions([&] {
    if (CallRecord* record = RecordOf(context_)) {
      record->generation = {.usage = event.finished.usage, .timings = event.finished.timings};
      const bool failed = EngineFailed(event.status, event.finished);
      if (!failed) record->generation->reason = event.finished.reason;
    }
    end = std::make_shared<GenerationEnd>();
    end->status = StatusOf(event);
    end->finished = event.finished;
    if (end->status.ok()) end->chosen = Choose(end->finished);
  });
  if (made.ok()) return SaveStates(std::move(end), std::move(done));
  model_.reset();
  done({.status = made, .finished = {}, .chosen = {}, .states = {}});
}

// Saves the states one after another. The first failure ends the call.
void GenerationCall::SaveStates(std::shared_ptr<GenerationEnd> end,
                                std::function<void(const GenerationEnd&)> done) {
  const size_t next = end->states.size();
  const bool is_left = end->status.ok() && next < end->chosen.size() &&
                       end->finished.completions[end->chosen[next]].state != nullptr;
  if (!is_left) {
    model_.reset();
    return done(*end);
  }
  const engine::SavedState& state = *end->finished.completions[end->chosen[next]].state;
  const auto saved = [this, end, done](const absl::StatusOr<StateInfo>& info) {
    end->status = info.status();
    if (info.ok()) end->status = engine::CatchExceptions([&] { end->states.push_back(*info); });
    SaveStates(end, done);
  };
  const absl::Status begun = engine::CatchExceptions([&] {
    environment_.states->Save(state, model_->name(), model_->digest(), retention_, saved);
  });
  if (begun.ok()) return;
  end->status = begun;
  model_.reset();
  done(*end);
}

v1::TokenLogprobs GenerationCall::ToProto(const engine::SampledToken& token) const {
  const auto fill = [this](int32_t id, float logprob, v1::TokenLogprob* proto) {
    const int32_t ids[] = {id};
    proto->set_token_id(id);
    proto->set_text(model_->tokenizer().Decode(ids, /*skip_special=*/false));
    proto->set_logprob(logprob);
  };
  v1::TokenLogprobs proto;
  fill(token.id, token.logprob, proto.mutable_chosen());
  for (const engine::TokenLogprob& top : token.top) fill(top.id, top.logprob, proto.add_top());
  return proto;
}

v1::FinishReason ToProto(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case engine::FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case engine::FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    default:
      return v1::FINISH_REASON_UNSPECIFIED;  // cancelled and deadline are reported as a status
  }
}

v1::Usage ToProto(const engine::Usage& usage) {
  v1::Usage proto;
  proto.set_prompt_tokens(static_cast<int32_t>(usage.prompt_tokens));
  proto.set_cached_prompt_tokens(static_cast<int32_t>(usage.cached_prompt_tokens));
  proto.set_generated_tokens(static_cast<int32_t>(usage.generated_tokens));
  return proto;
}

v1::Timings ToProto(const engine::Timings& timings) {
  v1::Timings proto;
  proto.set_queue_seconds(timings.queue);
  proto.set_prefill_seconds(timings.prefill);
  proto.set_time_to_first_token_seconds(timings.time_to_first_token);
  proto.set_decode_seconds(timings.decode);
  proto.set_mean_inter_token_seconds(timings.mean_inter_token);
  return proto;
}

}  // namespace whipsnake::server
