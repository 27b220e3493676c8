// Attention of new tokens over a cache of keys and values that lies in blocks.
//
//   the cache at the positions of the run's rows := k, v
//   s[i,j] = scale · q[i]·k[j];   y[i] = Σ_j exp(s[i,j] - max_j s[i,j]) v[j] / Σ_j exp(...)
//
// for each head; j goes over the positions up to the row's own (causal) or over all of the
// sequence.
//
// Sources: Vaswani et al., arXiv 1706.03762; the running maximum and sum: Milakov & Gimelshein,
// arXiv 1805.02867; no matrix of scores: Dao et al., arXiv 2205.14135; blocks: Kwon et al., arXiv
// 2309.06180.
//
// Letters: T rows (tokens) of all runs, H heads, D width of a head.
#ifndef WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_H_
#define WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Positions of a block.
inline constexpr int64_t kKvBlock = 32;

// How one layer's keys and values of kKvBlock positions lie in a block. One head after the other:
//   keys      [D, kKvBlock]: transposed, so that scores of neighbours are neighbours
//   values    [kKvBlock, PaddedDim()], zeros past D
//   for kI8   fp32 scales [2, kKvBlock], of the keys and of the values: one for each position
struct KvLayout {
  static constexpr int64_t kAlignment = 64;  // of a block, in bytes

  DType dtype = DType::kF32;  // kF32, kBF16 or kI8
  int64_t heads = 0;
  int64_t head_dim = 0;

  int64_t PaddedDim() const { return (head_dim + 15) / 16 * 16; }
  int64_t ValuesBegin() const { return head_dim * kKvBlock * ByteSize(dtype); }
  int64_t ScalesBegin() const { return ValuesBegin() + PaddedDim() * kKvBlock * ByteSize(dtype); }
  int64_t HeadBytes() const {
    const int64_t scales = dtype == DType::kI8 ? 2 * kKvBlock : 0;
    return ScalesBegin() + scales * static_cast<int64_t>(sizeof(float));
  }
  int64_t bytes() const { return heads * HeadBytes(); }
};

// The rows [begin, begin + length) of a batch, which continue a sequence after `position` tokens.
struct AttentionRun {
  int64_t begin = 0;
  int64_t length = 0;
  int64_t position = 0;
  std::byte* const* blocks = nullptr;  // of the sequence, for position + length positions
};

struct AttentionArguments {
  MatrixView<const float> q, k, v;  // [T,H·D]
  KvLayout layout;
  int64_t offset = 0;  // of the layer in each block, in bytes, a multiple of kAlignment
  float scale = 1;
  bool causal = true;
  MatrixView<float> y;  // [T,H·D], may not alias the others
};

// Keys and values are rounded to the layout's type when they are written, and attended to as they
// were rounded, by the rows of their own run too. kI8 are codes of [-127, 127] in units of the
// largest magnitude over a position's head, divided by 127.
//
// A row's result depends on its sequence alone, bit for bit: not on the number of threads, on the
// other runs or on how the sequence was cut into runs, so that a cached decode equals the forward
// pass of the whole. No two runs may share the block of a position that is written. What a block
// holds past the sequence's end means nothing. NaN and infinity propagate to the rows that attend
// to them and to no others: what is masked is not multiplied, by 0 or anything else.
//
// Any thread; uses the current team (kernels/cpu/team.h). No runs, or empty ones, are allowed.
void Attention(std::span<const AttentionRun> runs, const AttentionArguments& arguments);

namespace reference {
void Attention(std::span<const AttentionRun> runs, const AttentionArguments& arguments);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_H_
