#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"

// The arrays of vectors below need a vector size that is known at compile time.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/row_quantization/row_quantization-inl.h"

#ifndef WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_CPU_CC_
#define WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_CPU_CC_
namespace whipsnake::kernels {

// Rows that are processed together. Each block is read, and expanded if it is not fp32, once for
// all of them.
constexpr int64_t kTile = 24;

// Some rows of one head of one run.
struct AttentionTile {
  const AttentionRun& run;
  const AttentionArguments& arguments;
  int64_t head;
  int64_t first;  // first row, counted within the run
  int64_t rows;   // at most kTile

  std::byte* Block(int64_t block) const {
    return run.blocks[block] + arguments.offset + head * arguments.layout.HeadBytes();
  }
  // The number of positions to which row i of the tile attends.
  int64_t Seen(int64_t i) const {
    return run.position + (arguments.causal ? first + i + 1 : run.length);
  }
};

// Scratch memory for one tile, at least Size() floats.
struct AttentionScratch {
  float *q, *scores, *y, *keys, *values, *largest, *sums;

  static int64_t Size(const KvLayout& layout) {
    return kTile * (layout.head_dim + kKvBlock + layout.PaddedDim() + 2) +
           kKvBlock * (layout.head_dim + layout.PaddedDim()) + kPadding;
  }
  AttentionScratch(const KvLayout& layout, float* memory) {
    // The arrays with aligned vector stores come first: their sizes are multiples of the vector
    // size.
    scores = memory;
    y = scores + kTile * kKvBlock;
    keys = y + kTile * layout.PaddedDim();
    values = keys + kKvBlock * layout.head_dim;
    q = values + kKvBlock * layout.PaddedDim();
    largest = q + kTile * layout.head_dim;
    sums = largest + kTile;
  }

 private:
  static constexpr int64_t kPadding = 16;
};

}  // namespace whipsnake::kernels
#endif  // WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_CPU_CC_

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kColumns = 16;  // the width of a panel is a multiple of this

// --- Writing the cache ---------------------------------------------------------------------------

void WriteFloats(const AttentionTile& tile, int64_t i, std::byte* head, int64_t row) {
  const AttentionArguments& a = tile.arguments;
  const int64_t D = a.layout.head_dim, at = tile.run.begin + i;
  const float* k = a.k.row(at) + tile.head * D;
  const float* v = a.v.row(at) + tile.head * D;
  auto* keys = reinterpret_cast<float*>(head) + row;
  float* values =
      reinterpret_cast<float*>(head + a.layout.ValuesBegin()) + row * a.layout.PaddedDim();
  for (int64_t d = 0; d < D; ++d) keys[d * kKvBlock] = k[d];
  std::memcpy(values, v, D * sizeof(float));
  std::fill(values + D, values + a.layout.PaddedDim(), 0.0f);
}

void WriteBF16(const AttentionTile& tile, int64_t i, std::byte* head, int64_t row) {
  const AttentionArguments& a = tile.arguments;
  const int64_t D = a.layout.head_dim, at = tile.run.begin + i;
  const float* k = a.k.row(at) + tile.head * D;
  const float* v = a.v.row(at) + tile.head * D;
  auto* keys = reinterpret_cast<uint16_t*>(head) + row;
  uint16_t* values =
      reinterpret_cast<uint16_t*>(head + a.layout.ValuesBegin()) + row * a.layout.PaddedDim();
  for (int64_t d = 0; d < D; ++d) keys[d * kKvBlock] = ToBF16(k[d]);
  for (int64_t d = 0; d < D; ++d) values[d] = ToBF16(v[d]);
  std::fill(values + D, values + a.layout.PaddedDim(), 0);
}

void WriteRowCodes(const AttentionTile& tile, int64_t i, std::byte* head, int64_t row) {
  const AttentionArguments& a = tile.arguments;
  const int64_t D = a.layout.head_dim, at = tile.run.begin + i;
  auto* scales = reinterpret_cast<float*>(head + a.layout.ScalesBegin()) + row;
  auto* keys = reinterpret_cast<int8_t*>(head) + row;
  int8_t* values =
      reinterpret_cast<int8_t*>(head + a.layout.ValuesBegin()) + row * a.layout.PaddedDim();
  // The values' place holds the keys' codes until the values' codes overwrite them.
  scales[0] = QuantizeRow(a.k.row(at) + tile.head * D, D, values);
  for (int64_t d = 0; d < D; ++d) keys[d * kKvBlock] = values[d];
  scales[kKvBlock] = QuantizeRow(a.v.row(at) + tile.head * D, D, values);
  std::fill(values + D, values + a.layout.PaddedDim(), 0);
}

// Writes the keys and values of the tile's rows to the cache.
void WriteTile(const AttentionTile& tile) {
  for (int64_t i = tile.first; i < tile.first + tile.rows; ++i) {
    const int64_t position = tile.run.position + i;
    std::byte* head = tile.Block(position / kKvBlock);
    const int64_t row = position % kKvBlock;
    switch (tile.arguments.layout.dtype) {
      case DType::kBF16:
        WriteBF16(tile, i, head, row);
        break;
      case DType::kI8:
        WriteRowCodes(tile, i, head, row);
        break;
      default:
        WriteFloats(tile, i, head, row);
    }
  }
}

// --- Reading the cache ---------------------------------------------------------------------------

void Expand(const uint16_t* from, int64_t count, float* to) {
  const hn::RebindToUnsigned<Floats> bits;
  const hn::Rebind<uint16_t, Floats> halves;
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto wide = hn::PromoteTo(bits, hn::LoadU(halves, from + i));
    hn::Store(hn::BitCast(Floats(), hn::ShiftLeft<16>(wide)), Floats(), to + i);
  }
}

void Expand(const int8_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    hn::Store(FromCodes(hn::LoadU(Codes(), from + i)), Floats(), to + i);
  }
}

// One head's part of a block in fp32, either in place or expanded into scratch memory.
struct BlockView {
  const float* keys;
  const float* values;
  const float* key_scales;  // for codes; otherwise null
  const float* value_scales;
};

template <typename T>
BlockView ExpandBlock(const KvLayout& layout, const std::byte* head,
                      const AttentionScratch& scratch) {
  Expand(reinterpret_cast<const T*>(head), layout.head_dim * kKvBlock, scratch.keys);
  Expand(reinterpret_cast<const T*>(head + layout.ValuesBegin()), layout.PaddedDim() * kKvBlock,
         scratch.values);
  return {scratch.keys, scratch.values, nullptr, nullptr};
}

BlockView ViewBlock(const KvLayout& layout, const std::byte* head,
                    const AttentionScratch& scratch) {
  switch (layout.dtype) {
    case DType::kBF16:
      return ExpandBlock<uint16_t>(layout, head, scratch);
    case DType::kI8: {
      BlockView view = ExpandBlock<int8_t>(layout, head, scratch);
      view.key_scales = reinterpret_cast<const float*>(head + layout.ScalesBegin());
      view.value_scales = view.key_scales + kKvBlock;
      return view;
    }
    default:
      return {reinterpret_cast<const float*>(head),
              reinterpret_cast<const float*>(head + layout.ValuesBegin()), nullptr, nullptr};
  }
}

// --- Products ------------------------------------------------------------------------------------

// Rows of a register tile: as many as the registers hold for panels of 2 * kColumns with two sums
// per vector.
constexpr int kTileRows = kLanes >= 16 ? 6 : 1;
// With at most this many rows, the registers hold panels of 4 * kColumns, which have more
// independent sums.
constexpr int kFewRows = kLanes >= 16 ? 3 : 0;

// c[kM,kVectors] += a[kM,K] · b[K,kVectors], where the second index counts vectors. Even and odd k
// have separate sums: one dependent addition takes as long as four independent ones.
template <int kM, int kVectors>
HWY_INLINE void MultiplyTile(const float* a, int64_t a_stride, int64_t K, const float* b,
                             int64_t b_stride, float* c, int64_t c_stride) {
  const Floats d;
  FloatVec sums[2][kM][kVectors];
#pragma GCC unroll 12
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sums[0][m][v] = hn::LoadU(d, c + m * c_stride + v * kLanes);
      sums[1][m][v] = hn::Zero(d);
    }
  }
  const auto add = [&](int64_t k, FloatVec(&part)[kM][kVectors]) HWY_ATTR {
    FloatVec row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, b + k * b_stride + v * kLanes);
#pragma GCC unroll 12
    for (int m = 0; m < kM; ++m) {
      const FloatVec factor = hn::Set(d, a[m * a_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) part[m][v] = hn::MulAdd(factor, row[v], part[m][v]);
    }
  };
  int64_t k = 0;
  for (; k + 2 <= K; k += 2) {
    add(k, sums[0]);
    add(k + 1, sums[1]);
  }
  if (k < K) add(k, sums[0]);
#pragma GCC unroll 12
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(hn::Add(sums[0][m][v], sums[1][m][v]), d, c + m * c_stride + v * kLanes);
    }
  }
}

template <int kM>
void MultiplyRows(const float* a, int64_t a_stride, int64_t K, const float* b, int64_t columns,
                  float* c) {
  constexpr int kVectors = kColumns / kLanes;
  int64_t n = 0;
  const auto panel = [&](auto panels) HWY_ATTR {
    MultiplyTile<kM, panels * kVectors>(a, a_stride, K, b + n, columns, c + n, columns);
    n += panels * kColumns;
  };
  if constexpr (kM <= kFewRows) {
    while (n + 4 * kColumns <= columns) panel(std::integral_constant<int, 4>());
  }
  while (n + 2 * kColumns <= columns) panel(std::integral_constant<int, 2>());
  if (n < columns) panel(std::integral_constant<int, 1>());
}

template <int... kM>
HWY_INLINE void MultiplyRest(int64_t rows, const float* a, int64_t a_stride, int64_t K,
                             const float* b, int64_t columns, float* c,
                             std::integer_sequence<int, kM...>) {
  constexpr void (*kByRows[])(const float*, int64_t, int64_t, const float*, int64_t,
                              float*) = {MultiplyRows<kM + 1>...};
  kByRows[rows - 1](a, a_stride, K, b, columns, c);
}

// c[M,columns] += a[M,K] · b[K,columns]; columns is a multiple of kColumns. The order of the sum of
// each element does not depend on M.
void MultiplyAdd(int64_t M, const float* a, int64_t a_stride, int64_t K, const float* b,
                 int64_t columns, float* c) {
  int64_t m = 0;
  for (; m + kTileRows <= M; m += kTileRows) {
    MultiplyRows<kTileRows>(a + m * a_stride, a_stride, K, b, columns, c + m * columns);
  }
  if (m < M) {
    MultiplyRest(M - m, a + m * a_stride, a_stride, K, b, columns, c + m * columns,
                 std::make_integer_sequence<int, kTileRows>());
  }
}

// --- Online softmax over the blocks --------------------------------------------------------------

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Turns a row's scores for one block into weights, in place. Only the first `seen` positions count.
// Updates the running `largest` and `sum`, and returns the factor by which the caller must scale
// the output accumulated so far.
float WeighRow(int64_t seen, const BlockView& block, float* scores, float& largest, float& sum) {
  const Floats d;
  constexpr int kVectors = kKvBlock / kLanes;
  FloatVec s[kVectors];
  FloatVec best = hn::Set(d, largest);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    s[v] = hn::Load(d, scores + v * kLanes);
    if (block.key_scales != nullptr) {
      s[v] = hn::Mul(s[v], hn::LoadU(d, block.key_scales + v * kLanes));
    }
    const int64_t count = std::clamp<int64_t>(seen - v * kLanes, 0, kLanes);
    s[v] = hn::IfThenElse(hn::FirstN(d, count), s[v], hn::Set(d, kNever));
    best = hn::Max(best, s[v]);
  }
  best = hn::MaxOfLanes(d, best);
  FloatVec total = hn::Zero(d);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    FloatVec weight = Exp(d, hn::Sub(s[v], best));
    total = hn::Add(total, weight);
    if (block.value_scales != nullptr) {
      weight = hn::Mul(weight, hn::LoadU(d, block.value_scales + v * kLanes));
    }
    hn::Store(weight, d, scores + v * kLanes);
  }
  const float factor = hn::GetLane(Exp(d, hn::Sub(hn::Set(d, largest), best)));
  largest = hn::GetLane(best);
  sum = sum * factor + hn::GetLane(hn::SumOfLanes(d, total));
  return factor;
}

void WriteScaled(const float* from, int64_t count, float factor, float* to) {
  const FloatVec f = hn::Set(Floats(), factor);
  ForEachVector(0, count, [=](int64_t i, auto part) HWY_ATTR {
    part.Store(hn::Mul(part.Load(from + i), f), to + i);
  });
}

void ScaleRow(float factor, int64_t columns, float* y) {
  const FloatVec f = hn::Set(Floats(), factor);
  for (int64_t i = 0; i < columns; i += kLanes) {
    hn::Store(hn::Mul(hn::Load(Floats(), y + i), f), Floats(), y + i);
  }
}

// A row reads no values of positions to which it does not attend: 0 times a value that is not
// finite would be NaN. In a causal tile each row sees one position more than the row before, so the
// rows come in this order: rows that end before the block, rows that end within it, and rows that
// see as much of it as the last row.
void AttendToBlock(const AttentionTile& tile, int64_t block, const AttentionScratch& scratch) {
  const KvLayout& layout = tile.arguments.layout;
  const int64_t D = layout.head_dim, padded = layout.PaddedDim();
  const BlockView view = ViewBlock(layout, tile.Block(block), scratch);
  const auto seen = [&](int64_t i) {
    return std::clamp<int64_t>(tile.Seen(i) - block * kKvBlock, 0, kKvBlock);
  };
  int64_t begin = 0;
  while (seen(begin) == 0) ++begin;
  float* const scores = scratch.scores;
  std::fill_n(scores, tile.rows * kKvBlock, 0.0f);
  MultiplyAdd(tile.rows - begin, scratch.q + begin * D, D, D, view.keys, kKvBlock,
              scores + begin * kKvBlock);
  for (int64_t i = begin; i < tile.rows; ++i) {
    const float factor =
        WeighRow(seen(i), view, scores + i * kKvBlock, scratch.largest[i], scratch.sums[i]);
    if (factor != 1) ScaleRow(factor, padded, scratch.y + i * padded);
  }
  for (int64_t i = begin, rows; i < tile.rows; i += rows) {
    const bool as_the_last = seen(i) == seen(tile.rows - 1);
    rows = as_the_last ? tile.rows - i : 1;
    MultiplyAdd(rows, scores + i * kKvBlock, kKvBlock, seen(i), view.values, padded,
                scratch.y + i * padded);
  }
}

void AttendTile(const AttentionTile& tile, const AttentionScratch& scratch) {
  const AttentionArguments& a = tile.arguments;
  const int64_t D = a.layout.head_dim, padded = a.layout.PaddedDim();
  for (int64_t i = 0; i < tile.rows; ++i) {
    const float* q = a.q.row(tile.run.begin + tile.first + i) + tile.head * D;
    WriteScaled(q, D, a.scale, scratch.q + i * D);
  }
  std::fill_n(scratch.y, tile.rows * padded, 0.0f);
  std::fill_n(scratch.largest, tile.rows, kNever);
  std::fill_n(scratch.sums, tile.rows, 0.0f);
  const int64_t blocks = (tile.Seen(tile.rows - 1) + kKvBlock - 1) / kKvBlock;
  for (int64_t block = 0; block < blocks; ++block) AttendToBlock(tile, block, scratch);
  for (int64_t i = 0; i < tile.rows; ++i) {
    float* y = a.y.row(tile.run.begin + tile.first + i) + tile.head * D;
    WriteScaled(scratch.y + i * padded, D, 1 / scratch.sums[i], y);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(WriteTile);
HWY_EXPORT(AttendTile);

// Makes a tile of every head and every kTile rows. The last rows of a run come first: in a causal
// run they take the longest, and starting them early lets the threads finish together.
std::vector<AttentionTile> CutIntoTiles(std::span<const AttentionRun> runs,
                                        const AttentionArguments& arguments) {
  std::vector<AttentionTile> tiles;
  for (const AttentionRun& run : runs) {
    for (int64_t first = 0; first < run.length; first += kTile) {
      const int64_t rows = std::min(kTile, run.length - first);
      for (int64_t head = 0; head < arguments.layout.heads; ++head) {
        tiles.push_back({run, arguments, head, first, rows});
      }
    }
  }
  return {tiles.rbegin(), tiles.rend()};
}

// Estimates the time of one thread for all tiles.
double Nanoseconds(const std::vector<AttentionTile>& tiles) {
  constexpr double kNanosecondsEach = 0.05;  // per element of a key or value, and per row
  double products = 0;
  for (const AttentionTile& tile : tiles) {
    products += static_cast<double>(tile.rows * tile.Seen(tile.rows - 1));
  }
  return kNanosecondsEach * products * 2 * tiles.front().arguments.layout.head_dim;
}

// Calls work(context, tile) for every tile; the context is that of the share.
template <typename Work>
void ForEachTile(const Context& context, std::span<const AttentionTile> tiles, const Work& work) {
  std::atomic<size_t> next{0};
  ForEachShare(context, [&](const Context& own, int64_t) {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tiles.size();) {
      work(own, tiles[i]);
    }
  });
}

}  // namespace

void Attention(const Context& context, std::span<const AttentionRun> runs,
               const AttentionArguments& arguments) {
  const std::vector<AttentionTile> tiles = CutIntoTiles(runs, arguments);
  if (tiles.empty()) return;
  const Context team = Nanoseconds(tiles) < kWorthATeam ? Alone(context) : context;
  // Write all tiles before reading any: rows attend to other rows of their run.
  const auto write = HWY_DYNAMIC_DISPATCH(WriteTile);
  ForEachTile(team, tiles, [&](const Context&, const AttentionTile& tile) { write(tile); });
  const auto attend = HWY_DYNAMIC_DISPATCH(AttendTile);
  ForEachTile(team, tiles, [&](const Context& own, const AttentionTile& tile) {
    OperationScratch memory(own);
    const KvLayout& layout = arguments.layout;
    attend(tile, AttentionScratch(layout, memory.Get<float>(AttentionScratch::Size(layout))));
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
