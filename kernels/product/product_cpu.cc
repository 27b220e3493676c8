#include <algorithm>
#include <atomic>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/product/packed_operand.h"
#include "kernels/product/product.h"
#include "kernels/product/strip_product.h"

namespace whipsnake::kernels {
namespace {

// Slabs of both operands are packed and then multiplied (Goto and van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008). A slab has up to this many lines and, of each,
// tiles: 12 MiB. Sums of slabs with consecutive terms are added up in c.
constexpr int64_t kSlabLines = 4096;
constexpr int64_t kSlabTiles = 48;

// One thread multiplies a block of lines of each slab at a time. The block of b stays in the
// second-level cache while the strips of a pass by.
constexpr int64_t kBlockM = 128;
constexpr int64_t kMaxBlockN = 512;
constexpr int64_t kBlockBytes = 768 << 10;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Lines of an operand, packed. All strips have the same number of tiles.
struct Slab {
  int64_t lines, tiles;
  uint32_t* words;

  uint32_t* Strip(int64_t line) const { return words + line * tiles * kTile; }
};

// Calls work(unit) for the units that no thread has taken yet.
template <typename Work>
void TakeUnits(std::atomic<int64_t>& next, int64_t units, const Work& work) {
  for (int64_t unit; (unit = next.fetch_add(1, std::memory_order_relaxed)) < units;) work(unit);
}

// Packs the lines and terms of `operand` that begin with `line` and `term`, in the order in which
// they lie in memory: strip by strip or, if terms are rows, tile by tile.
void Pack(const Context& context, const OperandLines& operand, int64_t line, int64_t term,
          WordFormat format, TileOrder order, const Slab& slab) {
  const int64_t strips = CeilDiv(slab.lines, kStrip);
  const auto pack = [&](int64_t strip, int64_t tile, int64_t tiles) {
    PackTiles(operand, line + strip * kStrip, term + tile * kTile * TermsOfWord(format), tiles,
              format, order, slab.Strip(strip * kStrip) + tile * kStrip * kTile);
  };
  std::atomic<int64_t> next{0};
  ForEachShare(context, [&](const Context&, int64_t) {
    if (operand.contiguous) {
      TakeUnits(next, strips, [&](int64_t strip) { pack(strip, 0, slab.tiles); });
    } else {
      TakeUnits(next, slab.tiles, [&](int64_t tile) {
        for (int64_t strip = 0; strip < strips; ++strip) pack(strip, tile, 1);
      });
    }
  });
}

// Returns the number of lines of a block of b.
int64_t BlockN(int64_t tiles) {
  const int64_t bytes_of_strip = std::max<int64_t>(tiles, 1) * 2 * kTileSize * sizeof(uint32_t);
  return std::min(kBlockBytes / bytes_of_strip * kStrip, kMaxBlockN);
}

// Multiplies the lines [begin_m, end_m) of a with the lines [begin_n, end_n) of b.
void MultiplyBlock(const StripProduct& product, const Slab& a, const Slab& b, int64_t begin_m,
                   int64_t end_m, int64_t begin_n, int64_t end_n, const SumsTarget& target) {
  alignas(64) float sums[kStrip * kStrip];
  for (int64_t m = begin_m; m < end_m; m += kStrip) {
    for (int64_t n = begin_n; n < end_n; n += kStrip) {
      const SumsTarget part =
          target.Part(m, std::min(kStrip, end_m - m), n, std::min(kStrip, end_n - n));
      // Each of the first eight products of strips prefetches an eighth of the next strip of a.
      const uint32_t* const next_of_a = a.Strip(m + kStrip) + (n - begin_n) * a.tiles * 2;
      product.multiply(a.Strip(m), b.Strip(n), a.tiles, {next_of_a, part.c.data, part.c.stride},
                       sums);
      WriteSums(sums, part);
    }
  }
}

void MultiplySlabs(const Context& context, const StripProduct& product, const Slab& a,
                   const Slab& b, const SumsTarget& target) {
  const int64_t block_n = BlockN(b.tiles);
  const int64_t blocks_m = CeilDiv(a.lines, kBlockM), blocks_n = CeilDiv(b.lines, block_n);
  std::atomic<int64_t> next{0};
  ForEachShare(context, [&](const Context&, int64_t) {
    product.begin();
    TakeUnits(next, blocks_m * blocks_n, [&](int64_t block) {
      const int64_t m = block % blocks_m * kBlockM, n = block / blocks_m * block_n;
      MultiplyBlock(product, a, b, m, std::min(m + kBlockM, a.lines), n,
                    std::min(n + block_n, b.lines), target);
    });
    product.end();
  });
}

}  // namespace

void Product(const Context& context, DType arithmetic, const ProductOperands& operands) {
  if (operands.c.empty()) return;
  const StripProduct& product = BestStripProduct(arithmetic);
  const OperandLines a = RowsOf(operands.a), b = ColumnsOf(operands.b);
  const int64_t terms_of_tile = kTile * TermsOfWord(product.format);
  const int64_t terms_of_slab = kSlabTiles * terms_of_tile;
  const auto slab_lines = [](const OperandLines& operand, int64_t line) {
    return std::min(kSlabLines, operand.lines - line);
  };
  OperationScratch scratch(context);
  const auto room = [=](const OperandLines& operand) {
    return CeilDiv(slab_lines(operand, 0), kStrip) * kStrip * kTile * kSlabTiles;
  };
  uint32_t* const words_of_a = scratch.Get<uint32_t>(room(a) + room(b));
  uint32_t* const words_of_b = words_of_a + room(a);
  SumsTarget target{operands.c, operands.bias, operands.accumulate};
  int64_t term = 0;
  do {
    const int64_t tiles = CeilDiv(std::min(terms_of_slab, a.terms - term), terms_of_tile);
    for (int64_t n = 0; n < b.lines; n += kSlabLines) {
      const Slab slab_b{slab_lines(b, n), tiles, words_of_b};
      Pack(context, b, n, term, product.format, TileOrder::kWordMajor, slab_b);
      for (int64_t m = 0; m < a.lines; m += kSlabLines) {
        const Slab slab_a{slab_lines(a, m), tiles, words_of_a};
        Pack(context, a, m, term, product.format, product.order_of_a, slab_a);
        MultiplySlabs(context, product, slab_a, slab_b,
                      target.Part(m, slab_a.lines, n, slab_b.lines));
      }
    }
    target = {operands.c, nullptr, true};
    term += terms_of_slab;
  } while (term < a.terms);
}

}  // namespace whipsnake::kernels
