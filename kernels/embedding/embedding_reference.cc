#include "kernels/embedding/embedding.h"

namespace whipsnake::kernels::reference {
namespace {

float ValueAt(const EmbeddingTables& tables, int64_t token, int64_t column) {
  const std::byte* row = tables.tokens.row(token);
  switch (tables.tokens.format.dtype) {
    case DType::kF32:
      return reinterpret_cast<const float*>(row)[column];
    case DType::kI8:
      return reinterpret_cast<const int8_t*>(row)[column] * tables.scale[token];
    default:
      return FromBF16(reinterpret_cast<const uint16_t*>(row)[column]);
  }
}

}  // namespace

void Embed(std::span<const EmbeddingRun> runs, const EmbeddingTables& tables, MatrixView<float> y) {
  int64_t t = 0;
  for (const EmbeddingRun& run : runs) {
    int64_t position = run.first_position;
    for (const int32_t token : run.tokens) {
      for (int64_t d = 0; d < y.cols; ++d) {
        y.row(t)[d] = ValueAt(tables, token, d);
        if (tables.positions != nullptr) y.row(t)[d] += tables.positions[position * y.cols + d];
      }
      ++t;
      ++position;
    }
  }
}

void EmbedBackward(std::span<const EmbeddingRun> runs, MatrixView<const float> g, float* gtokens,
                   float* gpositions) {
  int64_t t = 0;
  for (const EmbeddingRun& run : runs) {
    int64_t position = run.first_position;
    for (const int32_t token : run.tokens) {
      for (int64_t d = 0; d < g.cols; ++d) {
        if (gtokens != nullptr) gtokens[token * g.cols + d] += g.row(t)[d];
        if (gpositions != nullptr) gpositions[position * g.cols + d] += g.row(t)[d];
      }
      ++t;
      ++position;
    }
  }
}

void CompactRows(std::span<const int64_t> rows, MatrixView<float> x) {
  for (int64_t i = 0; i < std::ssize(rows); ++i) {
    for (int64_t d = 0; d < x.cols; ++d) x.row(i)[d] = x.row(rows[i])[d];
  }
}

}  // namespace whipsnake::kernels::reference
