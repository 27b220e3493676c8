// The operation mostly reads and writes memory, so the compiler's vector code for the baseline is
// enough.
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/embedding/embedding.h"

namespace whipsnake::kernels {
namespace {

constexpr double kNanosecondsPerElement = 0.2;

void WriteTokenRow(const EmbeddingTables& tables, int64_t token, float* y) {
  const std::byte* row = tables.tokens.row(token);
  const int64_t D = tables.tokens.k;
  switch (tables.tokens.format.dtype) {
    case DType::kF32:
      std::memcpy(y, row, D * sizeof(float));
      break;
    case DType::kI8: {
      const auto* codes = reinterpret_cast<const int8_t*>(row);
      const float scale = tables.scale[token];
      for (int64_t d = 0; d < D; ++d) y[d] = codes[d] * scale;
      break;
    }
    default: {
      const auto* halves = reinterpret_cast<const uint16_t*>(row);
      for (int64_t d = 0; d < D; ++d) y[d] = FromBF16(halves[d]);
    }
  }
}

void WriteRun(const Context& context, const EmbeddingRun& run, const EmbeddingTables& tables,
              MatrixView<float> y) {
  const double nanoseconds = kNanosecondsPerElement * static_cast<double>(y.rows * y.cols);
  ParallelRows(context, y.rows, nanoseconds, [&](const Context&, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      WriteTokenRow(tables, run.tokens[t], y.row(t));
      if (tables.positions == nullptr) continue;
      const float* position = tables.positions + (run.first_position + t) * y.cols;
      for (int64_t d = 0; d < y.cols; ++d) y.row(t)[d] += position[d];
    }
  });
}

void AddRow(const float* from, int64_t columns, float* to) {
  for (int64_t d = 0; d < columns; ++d) to[d] += from[d];
}

// Adds the columns [begin, end) of g, row by row.
void AddColumns(std::span<const EmbeddingRun> runs, MatrixView<const float> g, int64_t begin,
                int64_t end, float* gtokens, float* gpositions) {
  const float* row = g.data + begin;
  for (const EmbeddingRun& run : runs) {
    int64_t position = run.first_position;
    for (const int64_t token : run.tokens) {
      if (gtokens != nullptr) AddRow(row, end - begin, gtokens + token * g.cols + begin);
      if (gpositions != nullptr) AddRow(row, end - begin, gpositions + position * g.cols + begin);
      row += g.stride;
      ++position;
    }
  }
}

}  // namespace

void Embed(const Context& context, std::span<const EmbeddingRun> runs,
           const EmbeddingTables& tables, MatrixView<float> y) {
  int64_t begin = 0;
  for (const EmbeddingRun& run : runs) {
    WriteRun(context, run, tables, y.Rows(begin, std::ssize(run.tokens)));
    begin += std::ssize(run.tokens);
  }
}

void EmbedBackward(const Context& context, std::span<const EmbeddingRun> runs,
                   MatrixView<const float> g, float* gtokens, float* gpositions) {
  const double nanoseconds = kNanosecondsPerElement * static_cast<double>(g.rows * g.cols);
  ParallelChannels(context, g.cols, nanoseconds, [&](const Context&, int64_t begin, int64_t end) {
    AddColumns(runs, g, begin, end, gtokens, gpositions);
  });
}

void CompactRows(const Context& /*context*/, std::span<const int64_t> rows, MatrixView<float> x) {
  for (int64_t i = 0; i < std::ssize(rows); ++i) {
    if (rows[i] != i) std::memcpy(x.row(i), x.row(rows[i]), x.cols * sizeof(float));
  }
}

}  // namespace whipsnake::kernels
