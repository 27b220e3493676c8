#include "server/metrics/model_metrics.h"

#include <utility>

namespace whipsnake::server {
namespace {

constexpr const char* kKind = "generate";
constexpr const char* kDevice = "cpu";
constexpr const char* kPrefill = "prefill";
constexpr const char* kDecode = "decode";
constexpr const char* kMixed = "mixed";

std::string RejectionReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return "invalid";
    case absl::StatusCode::kResourceExhausted:
      return "queue_full";
    case absl::StatusCode::kUnavailable:
      return "draining";
    default:
      return "other";
  }
}

}  // namespace

bool EngineFailed(const absl::Status& status, const engine::Finished& finished) {
  return !status.ok() && finished.reason != engine::FinishReason::kCancelled &&
         finished.reason != engine::FinishReason::kDeadline;
}

ModelMetrics::ModelMetrics(Metrics& metrics, std::string model)
    : metrics_(metrics),
      model_(std::move(model)),
      time_to_first_token_(metrics.time_to_first_token.With({model_})),
      inter_token_latency_(metrics.inter_token_latency.With({model_})),
      request_duration_(metrics.request_duration.With({model_, kKind})),
      queue_duration_(metrics.queue_duration.With({model_})),
      prefill_duration_(metrics.prefill_duration.With({model_})),
      decode_duration_(metrics.decode_duration.With({model_})),
      prompt_tokens_(metrics.prompt_tokens.With({model_})),
      cached_prompt_tokens_(metrics.cached_prompt_tokens.With({model_})),
      generated_tokens_(metrics.generated_tokens.With({model_})),
      cache_hits_(metrics.state_cache_lookups.With({model_, "hit"})),
      cache_misses_(metrics.state_cache_lookups.With({model_, "miss"})),
      request_prompt_tokens_(metrics.request_prompt_tokens.With({model_})),
      request_generated_tokens_(metrics.request_generated_tokens.With({model_})),
      prefill_batch_size_(metrics.batch_size.With({model_, kPrefill})),
      decode_batch_size_(metrics.batch_size.With({model_, kDecode})),
      prefill_step_duration_(metrics.engine_step_duration.With({model_, kPrefill, kDevice})),
      decode_step_duration_(metrics.engine_step_duration.With({model_, kDecode, kDevice})),
      mixed_step_duration_(metrics.engine_step_duration.With({model_, kMixed, kDevice})),
      failed_(metrics.requests_finished.With({model_, "error"})) {
  for (int reason = 0; reason < kFinishReasons; ++reason) {
    const std::string name(engine::Name(static_cast<engine::FinishReason>(reason)));
    finished_[reason] = &metrics.requests_finished.With({model_, name});
  }
  // Create these at 0, so that a rate also shows the first event.
  for (const char* reason : {"invalid", "queue_full", "draining", "other"}) {
    metrics.requests_rejected.With({model_, reason});
  }
}

ModelMetrics::~ModelMetrics() { metrics_.registry.Remove("model", model_); }

void ModelMetrics::SetState(std::string_view state) {
  for (const char* name : {"loading", "ready", "unloading", "failed"}) {
    metrics_.model_state.With({model_, name}).Set(name == state ? 1 : 0);
  }
}

void ModelMetrics::OnLoaded(const engine::ModelInfo& info, double seconds) {
  metrics_.model_load_duration.With({model_}).Observe(seconds);
  metrics_.weights_bytes.With({model_, kDevice, std::string(engine::Name(info.scheme))})
      .Set(static_cast<double>(info.weights_bytes));
}

void ModelMetrics::Attach(const engine::Generator& generator, const engine::ModelInfo& info) {
  const auto show = [&](Family<Computed>& family, const LabelValues& values,
                        int64_t engine::GeneratorLoad::*member) {
    Show(family, values, [source = &generator, member] { return source->load().*member; });
  };
  using Load = engine::GeneratorLoad;
  show(metrics_.requests_running, {model_, kKind}, &Load::running);
  show(metrics_.requests_waiting, {model_, kKind}, &Load::waiting);
  show(metrics_.state_slots_used, {model_}, &Load::running);
  show(metrics_.state_slots_limit, {model_}, &Load::max_running);
  show(metrics_.state_bytes, {model_, kDevice}, &Load::state_bytes);
  // Only states that grow with the text, and so have a longest one, are of keys and values.
  const bool has_kv_cache = info.max_positions > 0;
  if (has_kv_cache) show(metrics_.kv_cache_bytes, {model_, kDevice}, &Load::state_bytes);
  show(metrics_.state_cache_bytes, {model_, kDevice}, &Load::cache_bytes);
}

void ModelMetrics::Detach() {
  for (Family<Computed>* family :
       {&metrics_.requests_running, &metrics_.requests_waiting, &metrics_.state_slots_used,
        &metrics_.state_slots_limit, &metrics_.state_bytes, &metrics_.kv_cache_bytes,
        &metrics_.state_cache_bytes}) {
    family->Remove("model", model_);
  }
}

void ModelMetrics::OnRejected(const absl::Status& status) {
  metrics_.requests_rejected.With({model_, RejectionReason(status.code())}).Add();
}

void ModelMetrics::OnStarted(double queue_seconds) { queue_duration_.Observe(queue_seconds); }

void ModelMetrics::OnCacheLookup(bool hit) { (hit ? cache_hits_ : cache_misses_).Add(); }

void ModelMetrics::OnStep(const engine::StepShape& shape, double seconds) {
  const bool prefill = shape.prefilling > 0, decode = shape.decoding > 0;
  if (prefill) prefill_batch_size_.Observe(static_cast<double>(shape.prefilling));
  if (decode) decode_batch_size_.Observe(static_cast<double>(shape.decoding));
  Histogram& duration = prefill && decode ? mixed_step_duration_
                        : prefill         ? prefill_step_duration_
                                          : decode_step_duration_;
  duration.Observe(seconds);
}

void ModelMetrics::OnFirstToken(double seconds) { time_to_first_token_.Observe(seconds); }

void ModelMetrics::OnInterToken(double seconds) { inter_token_latency_.Observe(seconds); }

void ModelMetrics::OnFinished(const absl::Status& status, const engine::Finished& finished,
                              double seconds) {
  const bool failed = EngineFailed(status, finished);
  (failed ? failed_ : *finished_[static_cast<int>(finished.reason)]).Add();
  request_duration_.Observe(seconds);

  const engine::Usage& usage = finished.usage;
  prompt_tokens_.Add(usage.prompt_tokens);
  cached_prompt_tokens_.Add(usage.cached_prompt_tokens);
  generated_tokens_.Add(usage.generated_tokens);
  request_prompt_tokens_.Observe(static_cast<double>(usage.prompt_tokens));
  request_generated_tokens_.Observe(static_cast<double>(usage.generated_tokens));
  if (usage.generated_tokens == 0) return;  // ended before the end of its prefill
  prefill_duration_.Observe(finished.timings.prefill);
  decode_duration_.Observe(finished.timings.decode);
}

}  // namespace whipsnake::server
