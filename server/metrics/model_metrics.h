// The metrics of one model: what the engine reports, and what the registry of models knows.
#ifndef WHIPSNAKE_SERVER_METRICS_MODEL_METRICS_H_
#define WHIPSNAKE_SERVER_METRICS_MODEL_METRICS_H_

#include <array>
#include <string>
#include <string_view>

#include "engine/generate/generator.h"
#include "server/metrics/metrics.h"

namespace whipsnake::server {

// Whether the engine, and not the client or the clock, ended a request: then its status says why.
// What was cancelled or came too late has a status too, but is no failure.
bool EngineFailed(const absl::Status& status, const engine::Finished& finished);

// Its series exist while it does. The observer's functions are lock-free: they run on the thread
// that decodes.
class ModelMetrics : public engine::GenerationObserver {
 public:
  // `metrics` outlives it. At most one exists for a name at a time.
  ModelMetrics(Metrics& metrics, std::string model);
  ~ModelMetrics() override;
  ModelMetrics(const ModelMetrics&) = delete;
  ModelMetrics& operator=(const ModelMetrics&) = delete;

  // One of "loading", "ready", "unloading", "failed".
  void SetState(std::string_view state);
  void OnLoaded(const engine::ModelInfo& info, double seconds);
  // Shows what is in the generator's hands from now on, until Detach.
  void Attach(const engine::Generator& generator);
  // After it the generator may be destroyed.
  void Detach();
  // A request for this model that was refused.
  void OnRejected(const absl::Status& status);

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
