// The metrics of one model, from the engine's reports and from the model registry.
#ifndef WHIPSNAKE_SERVER_METRICS_MODEL_METRICS_H_
#define WHIPSNAKE_SERVER_METRICS_MODEL_METRICS_H_

#include <array>
#include <string>
#include <string_view>

#include "engine/generate/generator.h"
#include "server/metrics/metrics.h"

namespace whipsnake::server {

// Returns whether the engine ended the request with a failure; `status` then has the reason.
// Cancelled requests and requests that missed their deadline also have an error status, but are not
// failures.
bool EngineFailed(const absl::Status& status, const engine::Finished& finished);

// The metrics' series exist as long as this object. The observer's functions are lock-free, because
// they run on the decoding thread.
class ModelMetrics : public engine::GenerationObserver {
 public:
  // `metrics` must outlive this object. At most one may exist for a name at a time.
  ModelMetrics(Metrics& metrics, std::string model);
  ~ModelMetrics() override;
  ModelMetrics(const ModelMetrics&) = delete;
  ModelMetrics& operator=(const ModelMetrics&) = delete;

  // `state` is "loading", "ready", "unloading" or "failed".
  void SetState(std::string_view state);
  void OnLoaded(const engine::ModelInfo& info, double seconds);
  // Shows the load of the generator, which is one of this model, until Detach. The generator must
  // outlive that.
  void Attach(const engine::Generator& generator, const engine::ModelInfo& info);
  // After Detach the generator may be destroyed.
  void Detach();
  // Counts a request for this model that was refused.
  void OnRejected(const absl::Status& status);
  int64_t generated_tokens() const { return generated_tokens_.value(); }

  void OnStarted(double queue_seconds) override;
  void OnCacheLookup(bool hit) override;
  void OnStep(const engine::StepShape& shape, double seconds) override;
  void OnFirstToken(double seconds) override;
  void OnInterToken(double seconds) override;
  void OnFinished(const absl::Status& status, const engine::Finished& finished,
                  double seconds) override;

 private:
  static constexpr int kFinishReasons = 5;

  Metrics& metrics_;
  const std::string model_;
  Histogram& time_to_first_token_;
  Histogram& inter_token_latency_;
  Histogram& request_duration_;
  Histogram& queue_duration_;
  Histogram& prefill_duration_;
  Histogram& decode_duration_;
  Counter& prompt_tokens_;
  Counter& cached_prompt_tokens_;
  Counter& generated_tokens_;
  Counter& cache_hits_;
  Counter& cache_misses_;
  Histogram& request_prompt_tokens_;
  Histogram& request_generated_tokens_;
  Histogram& prefill_batch_size_;
  Histogram& decode_batch_size_;
  Histogram& prefill_step_duration_;
  Histogram& decode_step_duration_;
  Histogram& mixed_step_duration_;
  std::array<Counter*, kFinishReasons> finished_;  // by engine::FinishReason
  Counter& failed_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_MODEL_METRICS_H_
