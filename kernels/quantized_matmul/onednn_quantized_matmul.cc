#include <algorithm>
#include <atomic>

#include "kernels/cpu/onednn_thread.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/quantized_matmul/forms.h"
#include "oneapi/dnnl/dnnl.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kTileM = 256;
constexpr int64_t kTileN = 256;

}  // namespace

void OneDnnQuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                           const Epilogue& epilogue) {
  const int64_t tiles_m = (x.rows + kTileM - 1) / kTileM;
  const int64_t tiles_n = (w.n + kTileN - 1) / kTileN;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  ForEachShare(context, [&](const Context& own, int64_t) {
    KeepOneDnnOnThisThread();
    OperationScratch scratch(own);
    auto* sums = scratch.Get<int32_t>(kTileM * kTileN);
    for (int64_t tile; !failed.load(std::memory_order_relaxed) &&
                       (tile = next.fetch_add(1, std::memory_order_relaxed)) < tiles_m * tiles_n;) {
      const int64_t m = tile % tiles_m * kTileM;
      const int64_t n = tile / tiles_m * kTileN;
      const int64_t rows = std::min(kTileM, x.rows - m);
      const int64_t columns = std::min(kTileN, w.n - n);
      const int32_t no_offset = 0;
      const dnnl_status_t status = dnnl_gemm_s8s8s32(
          'N', 'T', 'F', rows, columns, w.k, 1.0f, x.row(m), x.stride, 0,
          static_cast<const int8_t*>(w.data) + n * w.k, w.k, 0, 0.0f, sums, kTileN, &no_offset);
      if (status != dnnl_success) failed = true;
      epilogue.Write(sums, kTileN, m, rows, n, columns);
    }
  });
  // oneDNN fails if memory is short. The streaming form needs little memory.
  if (failed) StreamingQuantizedMatmul(context, x, w, epilogue);
}

}  // namespace whipsnake::kernels
