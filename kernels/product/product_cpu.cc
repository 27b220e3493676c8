#include <algorithm>
#include <atomic>
#include <iterator>
#include <vector>

#include "hwy/cache_control.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/product/packed_operand.h"
#include "kernels/product/product.h"
#include "kernels/product/strip_product.h"

namespace whipsnake::kernels {
namespace {

// One operand, the panel, is packed first, and all threads read it from the caches that they share.
// The other is packed in blocks of lines, each by the thread that multiplies it, so that the block
// stays in that thread's second-level cache while the strips of the panel pass by (Goto and van de
// Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). The panel is the operand with
// fewer lines, because its packed form is the one that may go to memory and back.
//
// A block with the panel can take many milliseconds, so a context's pauses also come between strips
// of the panel. The packed panel and blocks stay in the scratch memory meanwhile.
//
// Both are packed in slabs of up to kSlabTiles tiles of each line. The sums of slabs with
// consecutive terms are added up in c, whose part of a block stays in the cache, too.
constexpr int64_t kSlabTiles = 48;
constexpr int64_t kBlockLines = 256;
constexpr int64_t kPanelLines = 4096;
constexpr int64_t kBlockWords = kBlockLines * kSlabTiles * kTile;
constexpr int64_t kPanelWords = kPanelLines * kSlabTiles * kTile;  // of all slabs: 12 MiB

// A matrix of sums of this size leaves the caches before its reader comes.
constexpr int64_t kStreamedSums = int64_t{1} << 20;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t multiple) { return CeilDiv(a, multiple) * multiple; }

// An operand and the form in which a product takes it.
struct Factor {
  OperandLines operand;
  WordFormat format;
  TileOrder order;

  int64_t TermsOfTile() const { return kTile * TermsOfWord(format); }
  int64_t TermsOfSlab() const { return kSlabTiles * TermsOfTile(); }
};

struct Plan {
  const StripProduct& product;
  Factor blocked, panelled;
  bool blocks_of_rows;  // whether the lines of blocks are rows of c
  SumsTarget target;
};

// Lines of an operand and up to kSlabTiles tiles of each, packed.
struct Slab {
  int64_t line, lines;
  int64_t term, tiles;
  uint32_t* words;

  uint32_t* Strip(int64_t index) const { return words + index * kStrip * tiles * kTile; }
  int64_t strips() const { return CeilDiv(lines, kStrip); }
  int64_t words_of_strips() const { return strips() * kStrip * tiles * kTile; }
};

// Calls work(unit) for the units that no thread has taken yet.
template <typename Work>
void TakeUnits(std::atomic<int64_t>& next, int64_t units, const Work& work) {
  for (int64_t unit; (unit = next.fetch_add(1, std::memory_order_relaxed)) < units;) work(unit);
}

// Packs a slab in the order in which its terms lie in memory: strip by strip or, if terms are rows,
// tile by tile.
void Pack(const Context& context, const Factor& factor, const Slab& slab) {
  const auto pack = [&](int64_t strip, int64_t tile, int64_t tiles) {
    PackTiles(factor.operand, slab.line + strip * kStrip, slab.term + tile * factor.TermsOfTile(),
              tiles, factor.format, factor.order, slab.Strip(strip) + tile * kStrip * kTile);
  };
  std::atomic<int64_t> next{0};
  ForEachShare(context, [&](const Context&, int64_t) {
    if (factor.operand.contiguous) {
      TakeUnits(next, slab.strips(), [&](int64_t strip) { pack(strip, 0, slab.tiles); });
    } else {
      TakeUnits(next, slab.tiles, [&](int64_t tile) {
        for (int64_t strip = 0; strip < slab.strips(); ++strip) pack(strip, tile, 1);
      });
    }
  });
}

// Packs the slabs of the lines [line, line + lines) that begin with `term`, as many as fit in
// kPanelWords words, but at least one, which may have no tiles.
std::vector<Slab> PackPanel(const Context& context, const Factor& factor, int64_t line,
                            int64_t lines, int64_t term, uint32_t* words) {
  std::vector<Slab> panel;
  const int64_t max_slabs = kPanelLines / RoundUp(lines, kStrip);
  do {
    Pause(context);
    const int64_t tiles = CeilDiv(factor.operand.terms - term, factor.TermsOfTile());
    panel.push_back({line, lines, term, std::min(tiles, kSlabTiles), words});
    Pack(context, factor, panel.back());
    words += panel.back().words_of_strips();
    term += factor.TermsOfSlab();
  } while (term < factor.operand.terms && std::ssize(panel) < max_slabs);
  return panel;
}

// Multiplies strip i of a with strip j of b.
void MultiplyStrips(const StripProduct& product, const Slab& a, int64_t i, const Slab& b, int64_t j,
                    const Ahead& ahead, const SumsTarget& target) {
  alignas(64) float sums[kStrip * kStrip];
  const int64_t m = i * kStrip, n = j * kStrip;
  product.multiply(a.Strip(i), b.Strip(j), a.tiles, ahead, sums);
  WriteSums(sums, target.Part(a.line + m, std::min(kStrip, a.lines - m), b.line + n,
                              std::min(kStrip, b.lines - n)));
}

// Strips of a slab of the panel, with which a block is multiplied.
struct PanelPart {
  const Slab* slab;
  int64_t first, end;
};

// Multiplies a block with strips of the slab of the panel that has the same terms.
void MultiplyBlock(const Plan& plan, const Slab& block, const PanelPart& part) {
  const Slab& panel = *part.slab;
  SumsTarget target = plan.target;
  if (panel.term > 0) target = {target.c, nullptr, true};
  for (int64_t p = part.first; p < part.end; ++p) {
    for (int64_t q = 0; q < block.strips(); ++q) {
      // Each product prefetches an eighth of the next strip of the panel: a block has eight strips.
      const Ahead ahead{panel.Strip(p + 1) + q * panel.tiles * kStrip * kTile / 8};
      if (plan.blocks_of_rows) {
        MultiplyStrips(plan.product, block, q, panel, p, ahead, target);
      } else {
        MultiplyStrips(plan.product, panel, p, block, q, ahead, target);
      }
    }
  }
}

// Estimates the time of one thread for `lines` lines and a strip of the slab. Sums that are not in
// the caches are waited for.
double NanosecondsOfStrip(const Plan& plan, int64_t lines, const Slab& slab) {
  const MatrixView<float>& c = plan.target.c;
  const double nanoseconds_per_sum = c.rows * c.cols >= kStreamedSums ? 2 : 0.2;
  return static_cast<double>(lines * kStrip) *
         (nanoseconds_per_sum +
          plan.product.nanoseconds_per_word * static_cast<double>(slab.tiles * kTile));
}

// The same for all strips of a panel.
double Nanoseconds(const Plan& plan, int64_t lines, const std::vector<Slab>& panel) {
  double nanoseconds = 0;
  for (const Slab& slab : panel) {
    nanoseconds += NanosecondsOfStrip(plan, lines, slab) * static_cast<double>(slab.strips());
  }
  return nanoseconds;
}

// What a block is multiplied with between two pauses: the whole panel or, if that takes too long,
// strips of one slab.
std::vector<std::vector<PanelPart>> CutPanel(const Context& context, const Plan& plan,
                                             int64_t block_lines, const std::vector<Slab>& panel) {
  const bool whole =
      context.pauses == nullptr || Nanoseconds(plan, block_lines, panel) <= context.pauses->piece;
  std::vector<std::vector<PanelPart>> pieces(whole ? 1 : 0);
  for (const Slab& slab : panel) {
    if (whole) {
      pieces.front().push_back({&slab, 0, slab.strips()});
      continue;
    }
    const double each = NanosecondsOfStrip(plan, block_lines, slab);
    const auto strips = std::max<int64_t>(1, static_cast<int64_t>(context.pauses->piece / each));
    for (int64_t first = 0; first < slab.strips(); first += strips) {
      pieces.push_back({{&slab, first, std::min(first + strips, slab.strips())}});
    }
  }
  return pieces;
}

// Multiplies all blocks with a panel. `words` has room for a block of each thread.
void MultiplyPanel(const Context& context, const Plan& plan, const std::vector<Slab>& panel,
                   uint32_t* words) {
  const int64_t lines = plan.blocked.operand.lines, threads = Threads(context);
  const int64_t units = RoundUp(CeilDiv(lines, kBlockLines), threads);
  const int64_t block_lines = RoundUp(CeilDiv(lines, units), kStrip);
  const int64_t blocks = CeilDiv(lines, block_lines);
  const auto pieces = CutPanel(context, plan, block_lines, panel);
  ForEachPiece(context, blocks, Nanoseconds(plan, lines, panel), [&](int64_t first, int64_t end) {
    for (const std::vector<PanelPart>& piece : pieces) {
      if (&piece != &pieces.front()) Pause(context);
      ForEachShare(context, [&](const Context& own, int64_t share) {
        plan.product.begin();
        for (int64_t unit = first + share; unit < end; unit += threads) {
          for (const PanelPart& part : piece) {
            const int64_t line = unit * block_lines;
            const Slab block{line, std::min(block_lines, lines - line), part.slab->term,
                             part.slab->tiles, words + share * kBlockWords};
            if (part.first == 0) Pack(own, plan.blocked, block);
            MultiplyBlock(plan, block, part);
          }
        }
        plan.product.end();
        hwy::FlushStream();
      });
    }
  });
}

}  // namespace

void Product(const Context& context, DType arithmetic, const ProductOperands& operands) {
  if (operands.c.empty()) return;
  const StripProduct& product = BestStripProduct(arithmetic);
  const Factor a{RowsOf(operands.a), product.format, product.order_of_a};
  const Factor b{ColumnsOf(operands.b), product.format, TileOrder::kWordMajor};
  const int64_t terms = a.operand.terms, sums = operands.c.rows * operands.c.cols;
  const bool once = !operands.accumulate && terms <= a.TermsOfSlab();
  const SumsTarget target{operands.c, operands.bias, operands.accumulate,
                          once && sums >= kStreamedSums};
  const Plan plan = a.operand.lines >= b.operand.lines ? Plan{product, a, b, true, target}
                                                       : Plan{product, b, a, false, target};
  const int64_t lines = plan.panelled.operand.lines;
  OperationScratch scratch(context);
  uint32_t* const words = scratch.Get<uint32_t>(kPanelWords + Threads(context) * kBlockWords);
  for (int64_t line = 0; line < lines; line += kPanelLines) {
    int64_t term = 0;
    do {
      const std::vector<Slab> panel =
          PackPanel(context, plan.panelled, line, std::min(kPanelLines, lines - line), term, words);
      Pause(context);
      MultiplyPanel(context, plan, panel, words + kPanelWords);
      term = panel.back().term + a.TermsOfSlab();
    } while (term < terms);
  }
}

}  // namespace whipsnake::kernels
