// Attention of new tokens over a key-value cache that is stored in blocks.
//
//   cache[positions of the run's rows] := k, v
//   s[i,j] = scale · q[i]·k[j];   y[i] = Σ_j exp(s[i,j] - max_j s[i,j]) v[j] / Σ_j exp(...)
//
// for each head. j ranges over the positions up to the row's own (causal) or over the whole
// sequence.
//
// Sources: Vaswani et al., arXiv 1706.03762; running maximum and sum: Milakov & Gimelshein, arXiv
// 1805.02867; no score matrix: Dao et al., arXiv 2205.14135; blocks: Kwon et al., arXiv 2309.06180.
//
// Notation: T rows (tokens) of all runs, H heads, D width of a head.
#ifndef WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_H_
#define WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Positions per block.
inline constexpr int64_t kKvBlock = 32;

// The layout of one layer's keys and values in a block of kKvBlock positions. One head follows
// another, each with:
//
//   keys      [D, kKvBlock]: transposed, so that scores of neighbouring positions are adjacent
//   values    [kKvBlock, PaddedDim()], with zeros past D
//   for kI8   fp32 scales [2, kKvBlock]: first the keys', then the values', one per position
//
// PaddedDim() is in elements; the offsets and sizes below it are in bytes.
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

// The blocks of one sequence, in the order of its positions. Owns nothing.
//
// The addresses are those of blocks in the memory of the context's device. The table itself is
// host memory: an operation that runs elsewhere copies the addresses to its device, on the
// context's stream, before it reads them there, and reads no host memory after it has returned.
struct KvBlockTable {
  std::byte* const* addresses = nullptr;  // [count]
  int64_t count = 0;

  std::byte* operator[](int64_t block) const { return addresses[block]; }
};

// The rows [begin, begin + length) of a batch. They continue a sequence after `position` tokens.
struct AttentionRun {
  int64_t begin = 0;
  int64_t length = 0;
  int64_t position = 0;
  KvBlockTable blocks;  // the sequence's, covering at least position + length positions
};

struct AttentionArguments {
  MatrixView<const float> q, k, v;  // [T,H·D]
  KvLayout layout;
  int64_t offset = 0;  // of the layer in each block: bytes, a multiple of kAlignment
  float scale = 1;
  bool causal = true;
  MatrixView<float> y;  // [T,H·D]; may not alias q, k or v
};

// Keys and values are rounded to the layout's type when they are written. All rows, including those
// of the same run, attend to the rounded values. With kI8 each position of each head has a scale
// for its key and one for its value: the largest magnitude / 127. Codes are in [-127, 127].
//
// A row's result depends on its sequence alone, bit for bit: not on the number of threads, the
// other runs, or how the sequence was split into runs. So a cached decode equals the forward pass
// of the whole sequence. A block that one run writes may not belong to another run. Block contents
// past the end of the sequence are ignored. NaN and infinity propagate only to the rows that attend
// to them: masked values are not multiplied, not even by 0.
//
// Callable from any thread; runs on the context's team. `runs` may be empty or contain empty runs.
void Attention(const Context& context, std::span<const AttentionRun> runs,
               const AttentionArguments& arguments);

namespace reference {
void Attention(std::span<const AttentionRun> runs, const AttentionArguments& arguments);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ATTENTION_ATTENTION_H_
