#include <algorithm>
#include <atomic>

#include "kernels/cpu/parallel.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/onednn_matmul.h"
#include "kernels/matmul/streaming_matmul.h"

namespace whipsnake::kernels {

void Matmul(const Context& context, MatrixView<const float> x, WeightView w, const float* bias,
            MatrixView<float> y, ActivationFunction f) {
  if (x.rows == 0 || w.n == 0) return;
  // Above this number of rows oneDNN's tiles, which reuse both operands, are faster (see
  // matmul_benchmark).
  if (x.rows <= kMaxStreamedRows) {
    StreamingMatmul(context, x, w, bias, y, f);
  } else {
    OneDnnMatmul(context, x, w, bias, y, f);
  }
}

void BatchInvariantMatmul(const Context& context, MatrixView<const float> x, WeightView w,
                          const float* bias, MatrixView<float> y, ActivationFunction f) {
  if (x.rows <= kMaxStreamedRows) return Matmul(context, x, w, bias, y, f);
  // A panel of the weight stays in the second-level cache while all rows of x are multiplied with
  // it, kMaxStreamedRows at a time.
  constexpr int64_t kPanelBytes = 128 << 10;
  const int64_t panel = std::max<int64_t>(kPanelBytes / w.row_bytes() / 16 * 16, 16);
  std::atomic<int64_t> next{0};
  ForEachShare(context, [&](const Context& own, int64_t) {
    for (int64_t n; (n = next.fetch_add(panel, std::memory_order_relaxed)) < w.n;) {
      const int64_t outputs = std::min(panel, w.n - n);
      const WeightView part{w.row(n), w.format, outputs, w.k};
      for (int64_t m = 0; m < x.rows; m += kMaxStreamedRows) {
        const int64_t rows = std::min(kMaxStreamedRows, x.rows - m);
        StreamingMatmul(own, x.Rows(m, rows), part, bias != nullptr ? bias + n : nullptr,
                        y.Rows(m, rows).Columns(n, outputs), f);
      }
    }
  });
}

}  // namespace whipsnake::kernels
