// Rows of embedding tables.
//
//   y[t] = tokens[token[t]] · scale[token[t]] + positions[position[t]]
//
// Notation: T rows, V tokens, P positions, D columns.
#ifndef WHIPSNAKE_KERNELS_EMBEDDING_EMBEDDING_H_
#define WHIPSNAKE_KERNELS_EMBEDDING_EMBEDDING_H_

#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The tables, in the memory of the context's device. Owns nothing.
struct EmbeddingTables {
  WeightView tokens;                 // [V,D] in fp32, bf16 or int8
  const float* scale = nullptr;      // [V], for int8
  const float* positions = nullptr;  // [P,D] in fp32, or null to add nothing
};

// The tokens `tokens`, each in [0,V), at the positions `first_position`, `first_position` + 1, ...,
// each in [0,P) if there is a table of positions. Both are host memory.
struct EmbeddingRun {
  std::span<const int32_t> tokens;
  int64_t first_position = 0;
};

// Writes the rows of all runs, one run after another, to y[T,D] in fp32. Products and sums are
// fp32, each rounded on its own, so the result is the same on every device. `runs` may be empty.
void Embed(const Context& context, std::span<const EmbeddingRun> runs,
           const EmbeddingTables& tables, MatrixView<float> y);

// The derivatives of y for fp32 tables, given g[T,D] = ∂L/∂y:
//
//   gtokens[token[t]] += g[t];  gpositions[position[t]] += g[t]
//
// in the order of the rows: threads split the columns only, so no result depends on their number,
// bit for bit. gtokens[V,D] and gpositions[P,D] are contiguous; null for one that is not wanted.
void EmbedBackward(const Context& context, std::span<const EmbeddingRun> runs,
                   MatrixView<const float> g, float* gtokens, float* gpositions);

// Copies row rows[i] of x to row i, for each i. `rows` is host memory and ascending, so that no row
// is overwritten before it is copied.
void CompactRows(const Context& context, std::span<const int64_t> rows, MatrixView<float> x);

namespace reference {
void Embed(std::span<const EmbeddingRun> runs, const EmbeddingTables& tables, MatrixView<float> y);
void EmbedBackward(std::span<const EmbeddingRun> runs, MatrixView<const float> g, float* gtokens,
                   float* gpositions);
void CompactRows(std::span<const int64_t> rows, MatrixView<float> x);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_EMBEDDING_EMBEDDING_H_
