#include <algorithm>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/quantized_matmul/forms.h"
#include "kernels/quantized_matmul/panel.h"
#include "kernels/quantized_matmul/vnni.h"

namespace whipsnake::kernels {
namespace {

// Waking a team takes some microseconds. For less weight than this, one core is faster.
constexpr int64_t kTeamBytes = 64 << 10;

// The number of rows of x for which a panel is read once.
constexpr int64_t kBlockM = 32;

// Each thread's part of N is a multiple of this.
constexpr int64_t kGrain = 16;

DotKernel BestDot() {
  if constexpr (vnni::kCompiled) {
    if (ActiveIsa() >= Isa::kVnni) return vnni::Dot();
  }
  return WideningDot();
}

}  // namespace

void StreamingQuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                              const Epilogue& epilogue) {
  const DotKernel kernel = BestDot();
  OperationScratch scratch(context);
  const PackedRows rows = PackRows(context, kernel, x, scratch);
  const auto* weight = static_cast<const int8_t*>(w.data);
  const auto multiply = [&](int64_t begin, int64_t end) {
    alignas(64) int32_t sums[kBlockM * kPanel];
    for (int64_t n = begin; n < end; n += kPanel) {
      const int64_t count = std::min(kPanel, end - n);
      for (int64_t m = 0; m < rows.m; m += kBlockM) {
        const PackedRows block = rows.Rows(m, std::min(kBlockM, rows.m - m), kernel.element_bytes);
        kernel.dot(block, weight + n * w.k, count, sums);
        epilogue.Write(sums, kPanel, m, block.m, n, count);
      }
    }
  };
  // Each thread streams a contiguous part of the weight.
  const Context team = w.bytes() < kTeamBytes ? Alone(context) : context;
  const int64_t threads = Threads(team), grains = (w.n + kGrain - 1) / kGrain;
  ForEachShare(team, [&](const Context&, int64_t share) {
    multiply(grains * share / threads * kGrain,
             std::min(grains * (share + 1) / threads * kGrain, w.n));
  });
}

}  // namespace whipsnake::kernels
