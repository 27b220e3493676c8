#include <algorithm>
#include <atomic>

#include "kernels/cpu/team.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/onednn_matmul.h"
#include "kernels/matmul/streaming_matmul.h"

namespace whipsnake::kernels {

void Matmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y,
            ActivationFunction f) {
  if (x.rows == 0 || w.n == 0) return;
  // Above this number of rows oneDNN's tiles, which reuse both operands, are faster (see
  // matmul_benchmark).
  if (x.rows <= kMaxStreamedRows) {
    StreamingMatmul(x, w, bias, y, f);
  } else {
    OneDnnMatmul(x, w, bias, y, f);
  }
}

void BatchInvariantMatmul(MatrixView<const float> x, WeightView w, const float* bias,
                          MatrixView<float> y, ActivationFunction f) {
  if (x.rows <= kMaxStreamedRows) return Matmul(x, w, bias, y, f);
  // A panel of the weight stays in the second-level cache while all rows of x are multiplied with
  // it, kMaxStreamedRows at a time. Inside a share the current team is a single thread.
  constexpr int64_t kPanelBytes = 128 << 10;
  const int64_t row_bytes = w.k * ByteSize(w.dtype);
  const int64_t panel = std::max<int64_t>(kPanelBytes / row_bytes / 16 * 16, 16);
  std::atomic<int64_t> next{0};
  Team::Current().Run([&](int) {
    for (int64_t n; (n = next.fetch_add(panel, std::memory_order_relaxed)) < w.n;) {
      const int64_t outputs = std::min(panel, w.n - n);
      const WeightView part{static_cast<const std::byte*>(w.data) + n * row_bytes, w.dtype, outputs,
                            w.k};
      for (int64_t m = 0; m < x.rows; m += kMaxStreamedRows) {
        const int64_t rows = std::min(kMaxStreamedRows, x.rows - m);
        StreamingMatmul(x.Rows(m, rows), part, bias != nullptr ? bias + n : nullptr,
                        y.Rows(m, rows).Columns(n, outputs), f);
      }
    }
  });
}

}  // namespace whipsnake::kernels
