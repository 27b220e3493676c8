// What a GPU can do at most, to compare kernels with: reading memory, launching kernels, and the
// products of cuBLASLt in the sizes of a Mamba of 2.8 billion parameters. Needs cuBLAS, which the
// bundle for GPU machines does not have, so it is built where it runs:
//
//   nvcc -std=c++17 -O3 -arch=native -o ceilings kernels/cuda/ceilings_benchmark.cu -lcublasLt
//
// Every figure is the median of kRounds rounds, timed with events.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

constexpr int kRounds = 11;
constexpr int64_t kWeightBytes = int64_t{2'800} << 20;  // more than any cache

void Check(int error, const char* what) {
  if (error == 0) return;
  std::fprintf(stderr, "%s: error %d\n", what, error);
  std::exit(1);
}

double MedianSeconds(cudaStream_t stream, const std::function<void()>& work) {
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin), "cudaEventCreate");
  Check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> milliseconds(kRounds);
  work();  // warm-up
  for (float& time : milliseconds) {
    Check(cudaEventRecord(begin, stream), "cudaEventRecord");
    work();
    Check(cudaEventRecord(end, stream), "cudaEventRecord");
    Check(cudaEventSynchronize(end), "cudaEventSynchronize");
    Check(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
  }
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kRounds / 2, milliseconds.end());
  return milliseconds[kRounds / 2] / 1e3;
}

// Random bytes, because products of zeros are faster.
__global__ void Fill(uint32_t* data, int64_t words) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < words;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u;
    x ^= x >> 15;
    data[i] = (x * 2246822519u) & 0xbfbfbfbfu;  // finite as bf16
  }
}

template <int kUnroll>
__global__ void Read(const uint4* data, int64_t vectors, uint32_t* sink) {
  uint32_t sum = 0;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  for (; i + (kUnroll - 1) * stride < vectors; i += kUnroll * stride) {
    uint4 value[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) value[u] = __ldcs(data + i + u * stride);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) sum += value[u].x ^ value[u].y ^ value[u].z ^ value[u].w;
  }
  if (sum == 0x12345678u) *sink = sum;  // keeps the reads
}

__global__ void Nothing() {}

void MeasureReading(cudaStream_t stream, uint8_t* weights, uint32_t* sink, int processors) {
  for (const int blocks_per_processor : {1, 2, 4, 8}) {
    const auto read = [&] {
      Read<8><<<processors * blocks_per_processor, 512, 0, stream>>>(
          reinterpret_cast<const uint4*>(weights), kWeightBytes / 16, sink);
    };
    const double seconds = MedianSeconds(stream, read);
    std::printf("read %lld MiB, %d blocks of 512 per processor: %.3f ms, %.2f TB/s\n",
                static_cast<long long>(kWeightBytes >> 20), blocks_per_processor, seconds * 1e3,
                kWeightBytes / seconds / 1e12);
  }
  const double copy = MedianSeconds(stream, [&] {
    Check(cudaMemcpyAsync(weights, weights + kWeightBytes / 2, kWeightBytes / 2,
                          cudaMemcpyDeviceToDevice, stream),
          "cudaMemcpyAsync");
  });
  std::printf("copy %lld MiB: %.2f TB/s read and written\n",
              static_cast<long long>(kWeightBytes >> 21), kWeightBytes / copy / 1e12);
}

void MeasureLaunches(cudaStream_t stream) {
  constexpr int kKernels = 192;  // three for each of 64 layers
  const auto launch = [&] {
    for (int i = 0; i < kKernels; ++i) Nothing<<<132, 256, 0, stream>>>();
  };
  const double separate = MedianSeconds(stream, launch);
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  launch();
  Check(cudaStreamEndCapture(stream, &graph), "capture");
  Check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  const double together =
      MedianSeconds(stream, [&] { Check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch"); });
  std::printf("%d empty kernels: launched %.2f us each, in a graph %.2f us each\n", kKernels,
              separate / kKernels * 1e6, together / kKernels * 1e6);
}

struct Precision {
  const char* name;
  cudaDataType operands, result;
  cublasComputeType_t compute;
  cudaDataType scale;
};

// C [rows, outputs] = A [rows, inputs] W^T, W [outputs, inputs]; all row-major.
void MeasureProduct(cudaStream_t stream, cublasLtHandle_t blas, const Precision& precision,
                    int64_t rows, int64_t outputs, int64_t inputs, uint8_t* memory) {
  constexpr size_t kWorkspaceBytes = 64 << 20;
  const int64_t width = precision.operands == CUDA_R_8I ? 1 : 2;
  uint8_t* const workspace = memory;
  uint8_t* const a = memory + kWorkspaceBytes;
  uint8_t* const w = a + rows * inputs * width;
  uint8_t* const c = w + outputs * inputs * width;
  cublasLtMatmulDesc_t product;
  cublasLtMatrixLayout_t layout_a, layout_w, layout_c;
  cublasLtMatmulPreference_t preference;
  Check(cublasLtMatmulDescCreate(&product, precision.compute, precision.scale), "desc");
  const cublasOperation_t transpose = CUBLAS_OP_T;
  Check(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                       sizeof(transpose)),
        "desc");
  Check(cublasLtMatrixLayoutCreate(&layout_w, precision.operands, inputs, outputs, inputs), "W");
  Check(cublasLtMatrixLayoutCreate(&layout_a, precision.operands, inputs, rows, inputs), "A");
  Check(cublasLtMatrixLayoutCreate(&layout_c, precision.result, outputs, rows, outputs), "C");
  Check(cublasLtMatmulPreferenceCreate(&preference), "preference");
  Check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &kWorkspaceBytes, sizeof(kWorkspaceBytes)),
        "preference");
  constexpr int kMostAlgorithms = 8;
  cublasLtMatmulHeuristicResult_t algorithms[kMostAlgorithms];
  int found = 0;
  Check(cublasLtMatmulAlgoGetHeuristic(blas, product, layout_w, layout_a, layout_c, layout_c,
                                       preference, kMostAlgorithms, algorithms, &found),
        "heuristic");
  const float one_f = 1, zero_f = 0;
  const int32_t one_i = 1, zero_i = 0;
  const bool integers = precision.scale == CUDA_R_32I;
  const void* const one = integers ? static_cast<const void*>(&one_i) : &one_f;
  const void* const zero = integers ? static_cast<const void*>(&zero_i) : &zero_f;
  double best = 1e9;
  for (int i = 0; i < found; ++i) {
    best = std::min(best, MedianSeconds(stream, [&] {
                      Check(cublasLtMatmul(blas, product, one, w, layout_w, a, layout_a, zero, c,
                                           layout_c, c, layout_c, &algorithms[i].algo, workspace,
                                           kWorkspaceBytes, stream),
                            "cublasLtMatmul");
                    }));
  }
  const double operations = 2.0 * rows * outputs * inputs;
  std::printf("%s [%lld,%lld] x [%lld,%lld]^T: %.1f us, %.0f T operations/s, %.2f TB/s of weights\n",
              precision.name, static_cast<long long>(rows), static_cast<long long>(inputs),
              static_cast<long long>(outputs), static_cast<long long>(inputs), best * 1e6,
              operations / best / 1e12, outputs * inputs * width / best / 1e12);
}

}  // namespace

int main() {
  cudaDeviceProp properties;
  Check(cudaGetDeviceProperties(&properties, 0), "no usable GPU");
  std::printf("%s, %d processors, %.0f MiB of L2\n", properties.name,
              properties.multiProcessorCount, properties.l2CacheSize / 1048576.0);
  cudaStream_t stream;
  Check(cudaStreamCreate(&stream), "cudaStreamCreate");
  uint8_t* weights;
  Check(cudaMalloc(&weights, kWeightBytes), "cudaMalloc");
  Fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(weights), kWeightBytes / 4);
  uint32_t* sink;
  Check(cudaMalloc(&sink, sizeof(*sink)), "cudaMalloc");
  MeasureReading(stream, weights, sink, properties.multiProcessorCount);
  MeasureLaunches(stream);

  cublasLtHandle_t blas;
  Check(cublasLtCreate(&blas), "cublasLtCreate");
  const Precision precisions[] = {
      {"int8", CUDA_R_8I, CUDA_R_32I, CUBLAS_COMPUTE_32I, CUDA_R_32I},
      {"bf16", CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUDA_R_32F}};
  for (const Precision& precision : precisions) {
    for (const int64_t rows : {int64_t{1}, int64_t{16}, int64_t{64}, int64_t{1024}, int64_t{8192}}) {
      // in_proj, out_proj, and the head of mamba-2.8b.
      if (rows > 1 || precision.operands != CUDA_R_8I) {
        MeasureProduct(stream, blas, precision, rows, 10240, 2560, weights);
        MeasureProduct(stream, blas, precision, rows, 2560, 5120, weights);
        MeasureProduct(stream, blas, precision, rows, 50304, 2560, weights);
      }
    }
  }
  return 0;
}
