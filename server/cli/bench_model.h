// Times a model's prefill and decode, without a server.
#ifndef WHIPSNAKE_SERVER_CLI_BENCH_MODEL_H_
#define WHIPSNAKE_SERVER_CLI_BENCH_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/models/model.h"

namespace whipsnake::server {

struct BenchShape {
  int64_t batch = 1;             // sequences that decode together
  int64_t prompt_tokens = 512;   // per sequence
  int64_t generate_tokens = 64;  // decode steps per round
};

// The measured times, in seconds.
struct BenchSamples {
  std::vector<double> prefill;         // one prompt, to its last logits
  std::vector<double> decode_step;     // one token for each sequence of the batch
  std::vector<double> streaming_read;  // a plain read of the memory that a decode step reads
};

double Median(std::vector<double> samples);  // 0 without samples

// Measures one model. Rounds of several models can alternate, so that a slow period of the machine
// affects all of them.
class ModelBench {
 public:
  // `model` and `executor` must outlive this object.
  ModelBench(engine::Model* model, engine::Executor* executor, const BenchShape& shape)
      : model_(*model),
        executor_(*executor),
        shape_(shape),
        weights_(engine::DecodeWeights(*model)) {}

  // Runs everything once, untimed, to initialise pages, the workspace and oneDNN's compiled
  // kernels.
  absl::Status WarmUp();

  // Prefills each sequence of the batch separately, then decodes all of them together. Each decode
  // step is followed by a plain read of the same weights and states. `on_step` is called after each
  // of the steps_per_round() steps.
  absl::Status Round(const std::function<void()>& on_step);
  int64_t steps_per_round() const { return shape_.batch + shape_.generate_tokens; }

  const engine::Model& model() const { return model_; }
  const BenchSamples& samples() const { return samples_; }
  // The number of bytes that the last streaming read has read.
  int64_t streamed_bytes() const { return streamed_bytes_; }

 private:
  using States = std::vector<std::unique_ptr<engine::State>>;

  absl::StatusOr<double> Prefill(engine::State& state);
  absl::StatusOr<double> DecodeStep(const States& states);
  double StreamingRead(const States& states);
  std::vector<int32_t> RandomTokens(int64_t count);

  engine::Model& model_;
  engine::Executor& executor_;
  const BenchShape shape_;
  const std::vector<std::span<const std::byte>> weights_;
  std::mt19937_64 random_{1};  // the same tokens in every run of the program
  BenchSamples samples_;
  int64_t streamed_bytes_ = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_BENCH_MODEL_H_
