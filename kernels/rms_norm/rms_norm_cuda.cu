// One thread block per row. Each thread owns chunks of four neighbouring columns, the same ones
// whether or not it can move them as 16-byte vectors, so that sums have one order. Up to D = 4096 a
// thread owns at most one chunk and keeps it in registers between the two passes, so that every
// byte crosses memory once.
#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/rms_norm/rms_norm_cuda.h"

namespace whipsnake::kernels::cuda {
namespace {

constexpr int kChunk = 4;
constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;

// Loads columns [column, column + 4) of a row, with zeros past the end. kAligned uses a vector
// load, which needs 16-byte aligned rows and D % 4 == 0.
template <bool kAligned>
__device__ float4 LoadChunk(const float* row, int64_t column, int64_t columns) {
  if constexpr (kAligned) return *reinterpret_cast<const float4*>(row + column);
  float4 chunk = {0, 0, 0, 0};
  chunk.x = row[column];
  if (column + 1 < columns) chunk.y = row[column + 1];
  if (column + 2 < columns) chunk.z = row[column + 2];
  if (column + 3 < columns) chunk.w = row[column + 3];
  return chunk;
}

template <bool kAligned>
__device__ void StoreChunk(float4 chunk, float* row, int64_t column, int64_t columns) {
  if constexpr (kAligned) {
    *reinterpret_cast<float4*>(row + column) = chunk;
  } else {
    row[column] = chunk.x;
    if (column + 1 < columns) row[column + 1] = chunk.y;
    if (column + 2 < columns) row[column + 2] = chunk.z;
    if (column + 3 < columns) row[column + 3] = chunk.w;
  }
}

__device__ float SumOfWarp(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

// Returns the sum over the thread block, in every thread.
__device__ float SumOfBlock(float value) {
  __shared__ float warps[kMaxThreads / kWarp];
  const int lane = threadIdx.x % kWarp;
  value = SumOfWarp(value);
  if (lane == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  return SumOfWarp(lane < blockDim.x / kWarp ? warps[lane] : 0.0f);
}

template <bool kAligned>
__global__ void __launch_bounds__(kMaxThreads)
    NormalizeRows(const float* h, int64_t h_stride, float* residual, int64_t residual_stride,
                  const float* gamma, float epsilon, float* y, int64_t y_stride, int64_t columns) {
  const int64_t t = blockIdx.x;
  float* r_row = residual + t * residual_stride;
  const int64_t stride = int64_t{blockDim.x} * kChunk;
  const int64_t own = int64_t{threadIdx.x} * kChunk;

  float4 kept = {0, 0, 0, 0};
  float sum = 0;
  for (int64_t column = own; column < columns; column += stride) {
    float4 r = LoadChunk<kAligned>(r_row, column, columns);
    if (h != nullptr) {
      const float4 added = LoadChunk<kAligned>(h + t * h_stride, column, columns);
      r = {r.x + added.x, r.y + added.y, r.z + added.z, r.w + added.w};
      StoreChunk<kAligned>(r, r_row, column, columns);
    }
    sum = fmaf(r.x, r.x, fmaf(r.y, r.y, fmaf(r.z, r.z, fmaf(r.w, r.w, sum))));
    if (column == own) kept = r;
  }
  const float scale = 1.0f / sqrtf(SumOfBlock(sum) / static_cast<float>(columns) + epsilon);
  for (int64_t column = own; column < columns; column += stride) {
    const float4 r = column == own ? kept : LoadChunk<kAligned>(r_row, column, columns);
    const float4 g = LoadChunk<kAligned>(gamma, column, columns);
    StoreChunk<kAligned>(
        {g.x * (r.x * scale), g.y * (r.y * scale), g.z * (r.z * scale), g.w * (r.w * scale)},
        y + t * y_stride, column, columns);
  }
}

bool Aligned(const float* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % sizeof(float4) == 0 && stride % kChunk == 0;
}

}  // namespace

absl::Status ResidualRmsNorm(const Context& context, MatrixView<const float> h,
                             MatrixView<float> residual, const float* gamma, float epsilon,
                             MatrixView<float> y) {
  if (residual.empty()) return absl::OkStatus();
  const int64_t columns = residual.cols;
  const float* added = h.empty() ? nullptr : h.data;
  const int64_t chunks = (columns + kChunk - 1) / kChunk;
  const int threads = std::min<int64_t>(kMaxThreads, (chunks + kWarp - 1) / kWarp * kWarp);
  const bool aligned = columns % kChunk == 0 && Aligned(added, h.stride) && Aligned(gamma, 0) &&
                       Aligned(residual.data, residual.stride) && Aligned(y.data, y.stride);
  const auto kernel = aligned ? NormalizeRows<true> : NormalizeRows<false>;
  kernel<<<residual.rows, threads, 0, context.stream>>>(
      added, h.stride, residual.data, residual.stride, gamma, epsilon, y.data, y.stride, columns);
  return ToStatus(cudaGetLastError(), "launching ResidualRmsNorm");
}

}  // namespace whipsnake::kernels::cuda
