#include "kernels/matmul/onednn_matmul.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/cpu/team.h"
#include "oneapi/dnnl/dnnl.h"

namespace whipsnake::kernels {
namespace {

// The product is cut into these tiles whatever the number of threads, and oneDNN multiplies each on
// one thread: it would otherwise choose its split, over K too, by the number of threads.
constexpr int64_t kTileM = 256;
constexpr int64_t kTileN = 256;

// Memory that a thread keeps from call to call: one tile's operands in fp32.
struct Scratch {
  std::vector<float> x;
  std::vector<float> w;
};

MatrixView<const float> RoundedToBF16(MatrixView<const float> x, std::vector<float>& scratch) {
  scratch.resize(std::max<size_t>(scratch.size(), x.rows * x.cols));
  for (int64_t m = 0; m < x.rows; ++m) {
    const float* row = x.row(m);
    float* rounded = scratch.data() + m * x.cols;
    for (int64_t k = 0; k < x.cols; ++k) rounded[k] = FromBF16(ToBF16(row[k]));
  }
  return {scratch.data(), x.rows, x.cols};
}

const float* Expanded(const uint16_t* w, int64_t count, std::vector<float>& scratch) {
  scratch.resize(std::max<size_t>(scratch.size(), count));
  for (int64_t i = 0; i < count; ++i) scratch[i] = FromBF16(w[i]);
  return scratch.data();
}

// oneDNN would share a tile out to an OpenMP team of its own: one thread of our team is enough for
// it.
void KeepOneDnnOnThisThread() {
  thread_local const bool once = (omp_set_num_threads(1), true);
  static_cast<void>(once);
}

void MultiplyTile(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y) {
  thread_local Scratch scratch;
  const auto* weight = static_cast<const float*>(w.data);
  if (w.dtype == DType::kBF16) {
    x = RoundedToBF16(x, scratch.x);
    weight = Expanded(static_cast<const uint16_t*>(w.data), w.n * w.k, scratch.w);
  }
  // Fails only on impossible sizes.
  dnnl_sgemm('N', 'T', x.rows, w.n, w.k, 1.0f, x.data, x.stride, weight, w.k, 0.0f, y.data,
             y.stride);
  if (bias == nullptr) return;
  for (int64_t m = 0; m < y.rows; ++m) {
    for (int64_t n = 0; n < y.cols; ++n) y.row(m)[n] += bias[n];
  }
}

}  // namespace

void OneDnnMatmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y) {
  const int64_t tiles_m = (x.rows + kTileM - 1) / kTileM;
  const int64_t tiles_n = (w.n + kTileN - 1) / kTileN;
  std::atomic<int64_t> next{0};
  Team::Current().Run([&](int) {
    KeepOneDnnOnThisThread();
    for (int64_t tile; (tile = next.fetch_add(1, std::memory_order_relaxed)) < tiles_m * tiles_n;) {
      const int64_t m = tile % tiles_m * kTileM;
      const int64_t n = tile / tiles_m * kTileN;
      const int64_t rows = std::min(kTileM, x.rows - m);
      const int64_t columns = std::min(kTileN, w.n - n);
      const auto* weight = static_cast<const char*>(w.data) + n * w.k * ByteSize(w.dtype);
      MultiplyTile(x.Rows(m, rows), {weight, w.dtype, columns, w.k},
                   bias != nullptr ? bias + n : nullptr, y.Rows(m, rows).Columns(n, columns));
    }
  });
}

}  // namespace whipsnake::kernels
