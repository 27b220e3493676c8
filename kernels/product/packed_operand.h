// Operands of a product, packed in the order in which its innermost loops read them.
//
// A line is a row of a or a column of b; its terms are the K factors of each sum. A word is what an
// instruction multiplies at once: one fp32 term or two bf16 terms. A tile has kTile lines of kTile
// words. A strip has kStrip lines; it is stored as a sequence of tiles, those of its first kTile
// lines alternating with those of the others. Missing lines and terms are zeros.
#ifndef WHIPSNAKE_KERNELS_PRODUCT_PACKED_OPERAND_H_
#define WHIPSNAKE_KERNELS_PRODUCT_PACKED_OPERAND_H_

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/product/product.h"

namespace whipsnake::kernels {

inline constexpr int64_t kTile = 16;
inline constexpr int64_t kTileSize = kTile * kTile;  // words
inline constexpr int64_t kStrip = 2 * kTile;

// kFloats takes fp32 operands only; the others round them to bf16, half to even.
enum class WordFormat : uint8_t { kFloats, kRoundedFloats, kPairs };

constexpr int64_t TermsOfWord(WordFormat format) { return format == WordFormat::kPairs ? 2 : 1; }

enum class TileOrder : uint8_t { kLineMajor, kWordMajor };

// An operand as lines, each contiguous or each a column of the matrix in memory.
struct OperandLines {
  const void* data;
  DType dtype;
  int64_t lines, terms;
  int64_t stride;  // between lines, or between terms if lines are columns
  bool contiguous;
};

inline OperandLines RowsOf(const ProductOperand& a) {
  return a.transposed ? OperandLines{a.data, a.dtype, a.cols, a.rows, a.stride, false}
                      : OperandLines{a.data, a.dtype, a.rows, a.cols, a.stride, true};
}
inline OperandLines ColumnsOf(const ProductOperand& b) { return RowsOf(b.Transposed()); }

// Packs `tiles` pairs of tiles of the strip that begins with `line`, from `term` on. `words` is
// aligned to a cache line.
void PackTiles(const OperandLines& operand, int64_t line, int64_t term, int64_t tiles,
               WordFormat format, TileOrder order, uint32_t* words);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_PRODUCT_PACKED_OPERAND_H_
