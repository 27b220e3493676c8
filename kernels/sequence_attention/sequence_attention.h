// Attention within whole sequences, forward and backward, for training. Attention over a cache of
// keys and values, for inference, is in kernels/attention.
//
//   s[i,j] = scale · q[i]·k[j];   P[i,j] = exp(s[i,j] - lse[i]);   y[i] = Σ_j dropout(P)[i,j] v[j]
//
// for each head of each sequence, where lse[i] = log Σ_j exp(s[i,j]). j ranges over the sequence's
// rows up to i (causal) or over all of them. No matrix of scores exists: the backward pass computes
// P again, block by block, from q, k and lse. Sources: Dao et al., arXiv 2205.14135, appendix B.4;
// Dao, arXiv 2307.08691.
//
// Notation: T rows of all sequences, H heads, D width of a head.
#ifndef WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_SEQUENCE_ATTENTION_H_
#define WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_SEQUENCE_ATTENTION_H_

#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/dropout/dropout.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

struct SequenceAttentionOperands {
  MatrixView<const float> q, k, v;  // [T,H·D], often columns of one matrix [T,3·H·D]
  int64_t heads = 0;                // H
  float scale = 1;
  bool causal = true;
  // Of P. The mask's row is t · H + head, where t is the row of q, and its column is the place of
  // the key in its sequence.
  DropoutMask dropout;
};

// Writes y[T,H·D] and lse[T,H], which is contiguous. y may not alias an operand. All fp32. The
// sequences are disjoint; rows of no sequence are left as they are.
//
// A sequence's results depend on its own rows and, with dropout, on its place, so they do not
// depend on the number of threads, bit for bit. NaN and infinity propagate only to the rows that
// attend to them. Callable from any thread; runs on the context's team, which shares the heads of
// the sequences. Each thread keeps 2 · D floats of scratch memory per row of the longest sequence,
// and 4 · D in the backward pass.
void SequenceAttention(const Context& context, std::span<const RowRange> sequences,
                       const SequenceAttentionOperands& operands, MatrixView<float> y, float* lse);

// The derivatives, given y and lse as written by the forward pass and g[T,H·D] = ∂L/∂y. With
// δ[i] = Σ g[i] ∘ y[i] for each head and m the mask with its factor 1 / (1 - p):
//
//   gv[j] = Σ_i m[i,j] P[i,j] g[i];   S[i,j] = P[i,j] (m[i,j] g[i]·v[j] - δ[i]) scale
//   gq[i] = Σ_j S[i,j] k[j];          gk[j] = Σ_i S[i,j] q[i]
//
// gq, gk, gv[T,H·D] are overwritten and may not alias another operand. Sums over i and j are taken
// in a fixed order for each head of each sequence. The other promises are those of the forward
// pass.
struct SequenceAttentionGradients {
  MatrixView<float> q, k, v;
};
void SequenceAttentionBackward(const Context& context, std::span<const RowRange> sequences,
                               const SequenceAttentionOperands& operands, MatrixView<const float> y,
                               const float* lse, MatrixView<const float> g,
                               const SequenceAttentionGradients& gradients);

namespace reference {
// Compute in fp64 and round once.
void SequenceAttention(std::span<const RowRange> sequences,
                       const SequenceAttentionOperands& operands, MatrixView<float> y, float* lse);
void SequenceAttentionBackward(std::span<const RowRange> sequences,
                               const SequenceAttentionOperands& operands, MatrixView<const float> g,
                               const SequenceAttentionGradients& gradients);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_SEQUENCE_ATTENTION_H_
