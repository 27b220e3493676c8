#include "server/cli/bench_model.h"

#include <algorithm>
#include <chrono>

#include "engine/base/status.h"
#include "kernels/streaming_read/streaming_read.h"

namespace whipsnake::server {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

double Median(std::vector<double> samples) {
  if (samples.empty()) return 0;
  const auto middle = samples.begin() + samples.size() / 2;
  std::nth_element(samples.begin(), middle, samples.end());
  if (samples.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(samples.begin(), middle)) / 2;
}

std::vector<int32_t> ModelBench::RandomTokens(int64_t count) {
  std::uniform_int_distribution<int32_t> token(0,
                                               static_cast<int32_t>(model_.info().vocab_size) - 1);
  std::vector<int32_t> tokens(count);
  for (int32_t& id : tokens) id = token(random_);
  return tokens;
}

absl::StatusOr<double> ModelBench::Prefill(engine::State& state) {
  const std::vector<int32_t> tokens = RandomTokens(shape_.prompt_tokens);
  const engine::Run run{tokens, &state, engine::LogitsOf::kLast};
  const Clock::time_point start = Clock::now();
  RETURN_IF_ERROR(model_.Forward({&run, 1}).status());
  return SecondsSince(start);
}

absl::StatusOr<double> ModelBench::DecodeStep(const States& states) {
  const std::vector<int32_t> tokens = RandomTokens(shape_.batch);
  std::vector<engine::Run> runs;
  for (size_t b = 0; b < states.size(); ++b) {
    runs.push_back({{&tokens[b], 1}, states[b].get(), engine::LogitsOf::kLast});
  }
  const Clock::time_point start = Clock::now();
  RETURN_IF_ERROR(model_.Forward(runs).status());
  return SecondsSince(start);
}

double ModelBench::StreamingRead(const States& states) {
  std::vector<std::span<const std::byte>> memory = weights_;
  std::vector<engine::MemoryPiece> pieces;
  for (const auto& state : states) state->AppendMemory(pieces);
  for (const engine::MemoryPiece& piece : pieces) {
    memory.emplace_back(static_cast<const std::byte*>(piece.address), piece.bytes);
  }
  streamed_bytes_ = 0;
  for (const std::span<const std::byte> piece : memory) streamed_bytes_ += std::ssize(piece);
  const Clock::time_point start = Clock::now();
  executor_.Run(engine::Priority::kDecode,
                [&](const kernels::Context& context) { kernels::StreamingRead(context, memory); });
  return SecondsSince(start);
}

absl::Status ModelBench::WarmUp() {
  States states;
  for (int64_t b = 0; b < shape_.batch; ++b) {
    ASSIGN_OR_RETURN(states.emplace_back(), model_.NewState());
  }
  RETURN_IF_ERROR(Prefill(*states.front()).status());
  RETURN_IF_ERROR(DecodeStep(states).status());
  StreamingRead(states);
  return absl::OkStatus();
}

absl::Status ModelBench::Round(const std::function<void()>& on_step) {
  States states;
  for (int64_t b = 0; b < shape_.batch; ++b) {
    ASSIGN_OR_RETURN(states.emplace_back(), model_.NewState());
    ASSIGN_OR_RETURN(samples_.prefill.emplace_back(), Prefill(*states.back()));
    on_step();
  }
  for (int64_t g = 0; g < shape_.generate_tokens; ++g) {
    ASSIGN_OR_RETURN(samples_.decode_step.emplace_back(), DecodeStep(states));
    samples_.streaming_read.push_back(StreamingRead(states));
    on_step();
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::server
