#include <algorithm>
#include <atomic>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/quantized_matmul/forms.h"
#include "kernels/quantized_matmul/panel.h"
#include "kernels/quantized_matmul/vnni.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kGrain = 16;  // outputs: all panels but the last are multiples of this

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Splits the product into items of one panel and some rows of x. The split does not change the
// result, because integer sums are exact.
struct Cut {
  int64_t m, n, panels, chunks;

  Cut(int64_t rows, int64_t outputs, int64_t threads)
      : m(rows), n(outputs), panels(CeilDiv(outputs, kPanel)), chunks(1) {
    // Use enough items for the threads to finish together. But each item repacks its panel, so it
    // needs enough rows to pay for that.
    constexpr int64_t kItemsPerThread = 4;
    constexpr int64_t kMinRows = 64;
    if (threads == 1) return;
    chunks = std::clamp<int64_t>(CeilDiv(kItemsPerThread * threads, panels), 1,
                                 std::max<int64_t>(m / kMinRows, 1));
  }

  int64_t items() const { return panels * chunks; }
  // All panels have about the same width.
  int64_t PanelBegin(int64_t panel) const {
    return std::min(CeilDiv(n, kGrain) * panel / panels * kGrain, n);
  }
  int64_t ChunkBegin(int64_t chunk) const { return m * chunk / chunks; }
};

void MultiplyItem(const PackedRows& x, const Cut& cut, int64_t item, const uint8_t* panel,
                  const int8_t* ahead, const Epilogue& epilogue) {
  constexpr int64_t kTilesThatFetch = 4;  // vnni::MultiplyPanel() prefetches a quarter of a panel
  alignas(64) int32_t sums[vnni::kTileM * kPanel];
  const int64_t n = cut.PanelBegin(item / cut.chunks);
  const int64_t count = cut.PanelBegin(item / cut.chunks + 1) - n;
  const int64_t first = cut.ChunkBegin(item % cut.chunks);
  const int64_t rows = cut.ChunkBegin(item % cut.chunks + 1) - first;
  const int64_t tiles = CeilDiv(rows, vnni::kTileM);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t m = first + rows * tile / tiles;
    const int64_t end = first + rows * (tile + 1) / tiles;
    const bool fetches = ahead != nullptr && tile < kTilesThatFetch;
    vnni::MultiplyPanel(x.Rows(m, end - m, sizeof(int8_t)), panel, count,
                        fetches ? ahead + tile * kPanel / kTilesThatFetch * x.k : nullptr, sums);
    epilogue.Write(sums, kPanel, m, end - m, n, count);
  }
}

}  // namespace

void PackedQuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                           const Epilogue& epilogue) {
  if constexpr (vnni::kCompiled) {
    OperationScratch memory(context);
    const PackedRows rows = PackRows(context, vnni::Dot(), x, memory);
    const Cut cut(x.rows, w.n, Threads(context));
    const auto* weight = static_cast<const int8_t*>(w.data);
    std::atomic<int64_t> next{0};
    const auto take = [&] { return next.fetch_add(1, std::memory_order_relaxed); };
    ForEachShare(context, [&](const Context& own, int64_t) {
      OperationScratch scratch(own);
      auto* panel = scratch.Get<uint8_t>(vnni::PanelBytes(kPanel, w.k));
      int64_t packed = -1;
      // Take the next item before working on the current one, so that its panel can be prefetched.
      for (int64_t item = take(), following; item < cut.items(); item = following) {
        following = take();
        const int64_t p = item / cut.chunks;
        const int64_t n = cut.PanelBegin(p);
        if (p != packed) vnni::PackPanel(weight + n * w.k, cut.PanelBegin(p + 1) - n, w.k, panel);
        packed = p;
        const bool fetches = following < cut.items() && following / cut.chunks != p;
        const int8_t* ahead =
            fetches ? weight + cut.PanelBegin(following / cut.chunks) * w.k : nullptr;
        MultiplyItem(rows, cut, item, panel, ahead, epilogue);
      }
    });
  }
}

}  // namespace whipsnake::kernels
