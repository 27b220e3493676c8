// RMSNorm on the GPU, compared with a copy of matrices of the same size in GPU memory.
#include <cuda_runtime_api.h>

#include <string>

#include "benchmark/benchmark.h"
#include "kernels/cuda/device.h"
#include "kernels/rms_norm/rms_norm_cuda.h"

namespace whipsnake::kernels::cuda {
namespace {

constexpr Context kContext{.device = Device::kCuda};

constexpr int kCallsAtOnce = 32;  // launches per synchronization

// Three matrices [T,D] (h, residual, y) and gamma. Skips the benchmark if there is no usable GPU or
// too little GPU memory.
struct Operands {
  int64_t t;
  int64_t d;
  absl::StatusOr<DeviceBuffer> memory;

  explicit Operands(benchmark::State& state)
      : t(state.range(0)), d(state.range(1)), memory(Allocate(state)) {}

  absl::StatusOr<DeviceBuffer> Allocate(benchmark::State& state) const {
    const absl::StatusOr<std::string> device = UsableDevice();
    absl::Status status = device.status();
    if (status.ok()) {
      state.SetLabel(*device);
      absl::StatusOr<DeviceBuffer> buffer =
          DeviceBuffer::Allocate((3 * t + 1) * d * static_cast<int64_t>(sizeof(float)));
      if (buffer.ok()) cudaMemset(buffer->as<void>(), 0, buffer->bytes());
      if (buffer.ok()) return buffer;
      status = buffer.status();
    }
    state.SkipWithError(std::string(status.message()).c_str());
    return status;
  }
  float* matrix(int i) const { return memory->as<float>() + i * t * d; }
};

// Runs kCallsAtOnce calls per iteration and reports `bytes` for each: the bytes that a call reads
// and writes.
template <class Call>
void Measure(benchmark::State& state, int64_t bytes, Call call) {
  for (auto _ : state) {
    absl::Status status = absl::OkStatus();
    for (int i = 0; i < kCallsAtOnce && status.ok(); ++i) status = call();
    if (status.ok()) status = Synchronize(kContext);
    if (!status.ok()) {
      state.SkipWithError(std::string(status.message()).c_str());
      return;
    }
  }
  state.SetItemsProcessed(state.iterations() * kCallsAtOnce);
  state.SetBytesProcessed(state.iterations() * kCallsAtOnce * bytes);
}

void BM_ResidualRmsNormCuda(benchmark::State& state) {
  const Operands o(state);
  if (!o.memory.ok()) return;
  Measure(state, 4 * o.t * o.d * sizeof(float), [&] {
    return ResidualRmsNorm(kContext, {o.matrix(0), o.t, o.d}, {o.matrix(1), o.t, o.d}, o.matrix(3),
                           1e-5f, {o.matrix(2), o.t, o.d});
  });
}

void BM_CopyCuda(benchmark::State& state) {
  const Operands o(state);
  if (!o.memory.ok()) return;
  const int64_t bytes = o.t * o.d * sizeof(float);
  Measure(state, 2 * bytes, [&] {
    return ToStatus(cudaMemcpyAsync(o.matrix(0), o.matrix(1), bytes, cudaMemcpyDeviceToDevice),
                    "copying within the GPU");
  });
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "D"})->UseRealTime();
  for (const int64_t d : {768, 2048, 2560}) {
    for (const int64_t t : {1, 64, 2048, 16384}) benchmark->Args({t, d});
  }
}

BENCHMARK(BM_ResidualRmsNormCuda)->Apply(Shapes);
BENCHMARK(BM_CopyCuda)->Apply(Shapes);

}  // namespace
}  // namespace whipsnake::kernels::cuda

BENCHMARK_MAIN();
